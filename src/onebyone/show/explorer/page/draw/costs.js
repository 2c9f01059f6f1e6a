// Numbers beside each other as bars on one scale, each with its name and its value.

import { shown } from "../format.js";
import { h, write } from "../dom.js";

/**
 * A list of bars. `draw(rows)` takes [{ label, value, text?, accent? }]; accent is "channels",
 * "positions" or nothing, `text` what is written for the value.
 */
export function costs() {
  const list = h("ul", { class: "costs" });
  const parts = [];
  const row = () => {
    const [label, number] = ["label", "number"].map((name) => h("span", { class: name }));
    const bar = h("i", { class: "bar" });
    return { label, number, bar, root: h("li", {}, label, number, h("span", { class: "track" }, bar)) };
  };
  const draw = (rows) => {
    while (parts.length < rows.length) parts.push(row());
    list.replaceChildren(...parts.slice(0, rows.length).map(({ root }) => root));
    const most = Math.max(...rows.map(({ value }) => value), Number.MIN_VALUE);
    rows.forEach(({ label, value, text, accent = "" }, n) => {
      write(parts[n].label, label);
      write(parts[n].number, text ?? shown(value));
      parts[n].bar.style.width = `${(100 * value) / most}%`;
      parts[n].bar.dataset.accent = accent;
    });
  };
  return { list, draw };
}
