// The layer table: sorted, searched, and of thousands of rows only those in view are there.
(() => {
  "use strict";
  const data = document.getElementById("layers");
  if (!data) return;
  const HIGH = 32;
  const sides = JSON.parse(data.textContent);
  const box = document.getElementById("rows");
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const kinds = heads.map((head) => head.dataset.kind);
  const find = document.getElementById("find");
  const told = document.getElementById("told");
  let side = sides.length - 1;
  let sorted = { column: -1, down: false };
  let order = [];
  let chosen = -1;
  let drawn = "";

  const bytes = (number) => {
    if (number === null) return "?";
    const units = ["B", "kB", "MB", "GB", "TB"];
    let unit = 0;
    while (number >= 999.5 && unit < 4) { number /= 1000; unit += 1; }
    return `${Number(number.toPrecision(3))} ${units[unit]}`;
  };
  const write = {
    name: (v) => (v.length > 32 ? `${v.slice(0, 12)}…${v.slice(-19)}` : v),
    word: (v) => v,
    number: (v) => v.toLocaleString("en"),
    share: (v) => (v ? `${(100 * v).toFixed(1)}%` : ""),
    ratio: (v) => (v === null ? "" : v.toFixed(1)),
    bytes,
  };
  for (const one of sides) {
    one.texts = one.rows.map((row) => `${row[0]} ${row[1]} ${row[2]} ${row[3]}`.toLowerCase());
  }

  const cell = (value, k) => {
    const td = document.createElement("td");
    const text = write[kinds[k]](value);
    if (k === 0) {
      const bdi = document.createElement("bdi");
      bdi.textContent = text;
      td.append(bdi);
      td.title = value;
    } else {
      td.textContent = text;
      if (kinds[k] !== "word") td.className = "num";
    }
    return td;
  };
  const space = (rows) => {
    const tr = document.createElement("tr");
    tr.className = "space";
    tr.setAttribute("aria-hidden", "true");
    const td = tr.insertCell();
    td.colSpan = heads.length;
    td.style.height = `${rows * HIGH}px`;
    return tr;
  };
  const draw = () => {
    const rows = sides[side].rows;
    const first = Math.max(0, Math.floor(box.scrollTop / HIGH) - 8);
    const last = Math.min(order.length, first + Math.ceil(box.clientHeight / HIGH) + 16);
    const state = `${first} ${last}`;
    if (state === drawn) return;
    drawn = state;
    const made = [];
    if (first) made.push(space(first));
    for (let k = first; k < last; k += 1) {
      const tr = document.createElement("tr");
      tr.setAttribute("aria-rowindex", k + 2);
      if (order[k] === chosen) tr.className = "chosen";
      tr.append(...rows[order[k]].map(cell));
      made.push(tr);
    }
    if (last < order.length) made.push(space(order.length - last));
    body.replaceChildren(...made);
  };
  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null) return -1;
    if (b === null) return 1;
    return a < b ? -1 : 1;
  };
  const arrange = () => {
    const { rows, texts } = sides[side];
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    order = [];
    for (let k = 0; k < rows.length; k += 1) {
      if (words.every((word) => texts[k].includes(word))) order.push(k);
    }
    if (sorted.column >= 0) {
      const sign = sorted.down ? -1 : 1;
      order.sort((a, b) => sign * compare(rows[a][sorted.column], rows[b][sorted.column]) || a - b);
    }
    const all = rows.length.toLocaleString("en");
    told.textContent = order.length === rows.length ? `${all} layers` : `${order.length.toLocaleString("en")} of ${all} layers`;
    table.setAttribute("aria-rowcount", order.length + 1);
    drawn = "";
    draw();
  };
  const again = () => { box.scrollTop = 0; arrange(); };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const numbers = kinds[column] !== "name" && kinds[column] !== "word";
      const down = sorted.column === column ? !sorted.down : numbers;
      sorted = { column, down };
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      again();
    });
    head.replaceChildren(button);
  });
  find.addEventListener("input", again);
  const choices = [...document.querySelectorAll("input[name=side]")];
  choices.forEach((choice) => choice.addEventListener("change", () => {
    side = Number(choice.value);
    chosen = -1;
    again();
  }));
  box.addEventListener("scroll", draw, { passive: true });
  document.addEventListener("layer", ({ detail }) => {
    side = detail.side;
    if (choices.length) choices[side].checked = true;
    find.value = "";
    chosen = detail.at;
    arrange();
    box.scrollTop = Math.max(0, (order.indexOf(chosen) - 3) * HIGH);
    drawn = "";
    draw();
    box.scrollIntoView({ block: "nearest" });
  });
  document.getElementById("tools").hidden = false;
  document.getElementById("unscripted").hidden = true;
  arrange();
})();
