// Native controls, each bound to one field of a panel's state.

import { fixed, shown } from "./format.js";
import { h, write } from "./dom.js";

let made = 0;

/** The controls of one panel: they `set` its fields, and `follow(state)` shows what was set. */
export function controls(fields, set) {
  const followers = [];

  /** A slider; `options`: accent "channels" or "positions", `show` (value) => text, `hidden` label. */
  function slider(name, label, options = {}) {
    const field = fields[name];
    const id = `control-${(made += 1)}`;
    const show = options.show ?? ((value) => (field.kind === "integer" ? shown(value) : fixed(value)));
    const { min, max, step } = field;
    const input = h("input", { type: "range", id, min, max, step, "data-accent": options.accent });
    const output = h("output", { for: id, class: "number" });
    input.addEventListener("input", () => set({ [name]: input.valueAsNumber }));
    followers.push((state) => {
      input.value = state[name];
      input.setAttribute("aria-valuetext", show(state[name]));
      write(output, show(state[name]));
    });
    return h("div", { class: "slider" }, h("label", { for: id }, label), input, output);
  }

  /** A switch. */
  function flag(name, label) {
    const input = h("input", { type: "checkbox", role: "switch" });
    input.addEventListener("change", () => set({ [name]: input.checked }));
    followers.push((state) => (input.checked = state[name]));
    return h("label", { class: "switch" }, input, h("span", {}, label));
  }

  /** A few options of which one holds. */
  function choice(name, label) {
    const group = `control-${(made += 1)}`;
    const buttons = fields[name].options.map(([value, text]) => {
      const input = h("input", { type: "radio", name: group });
      input.addEventListener("change", () => set({ [name]: value }));
      followers.push((state) => (input.checked = state[name] === value));
      return h("label", {}, input, h("span", {}, text));
    });
    return h("fieldset", { class: "choice" }, h("legend", {}, label), h("div", {}, ...buttons));
  }

  const follow = (state) => followers.forEach((follower) => follower(state));
  return { slider, flag, choice, follow };
}

/** A button that does something once. */
export function button(label, action) {
  return h("button", { type: "button", onclick: action }, label);
}
