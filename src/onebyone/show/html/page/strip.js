// The bars: what is under the pointer, or chosen by keys, is told below; Enter finds it in the table.
(() => {
  "use strict";
  const data = document.getElementById("layers");
  const readout = document.getElementById("readout");
  if (!data || !readout) return;
  const sides = JSON.parse(data.textContent);
  const say = (row, place, count) => {
    const shown = row[4].toLocaleString("en");
    const share = (100 * row[5]).toFixed(1);
    return `${place + 1} of ${count}: ${row[0]}, ${row[1]}, ${row[2]}, ${shown} MACs (${share}%), output ${row[3]}`;
  };
  document.querySelectorAll(".scrub").forEach((scrub) => {
    const side = Number(scrub.dataset.side);
    const unit = Number(scrub.dataset.unit) / 1000;
    const rows = sides[side].rows;
    const mark = scrub.firstElementChild;
    let at = 0;
    const choose = (place) => {
      at = Math.max(0, Math.min(rows.length - 1, place));
      const text = say(rows[at], at, rows.length);
      scrub.setAttribute("aria-valuenow", at + 1);
      scrub.setAttribute("aria-valuetext", text.slice(0, 400));
      mark.hidden = false;
      mark.style.left = `${100 * at * unit}%`;
      mark.style.width = `${100 * unit}%`;
      readout.hidden = false;
      readout.textContent = (sides.length > 1 ? `${sides[side].name}, layer ` : "Layer ") + text;
    };
    const under = (event) => {
      const box = scrub.getBoundingClientRect();
      choose(Math.floor((event.clientX - box.left) / box.width / unit));
    };
    const find = () => document.dispatchEvent(new CustomEvent("layer", { detail: { side, at } }));
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    if (!rows.length) return;
    scrub.addEventListener("pointermove", under);
    scrub.addEventListener("pointerdown", under);
    scrub.addEventListener("focus", () => choose(at));
    scrub.addEventListener("click", find);
    scrub.addEventListener("keydown", (event) => {
      if (event.key in steps) choose(at + steps[event.key]);
      else if (event.key === "Home") choose(0);
      else if (event.key === "End") choose(rows.length - 1);
      else if (event.key === "Enter") find();
      else return;
      event.preventDefault();
    });
  });
})();
