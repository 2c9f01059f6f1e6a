// A raster of which one cell is picked: by pointer, or by the arrow keys.

import { h } from "../dom.js";

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** The whole number from 0 to size - 1 that is nearest to a whole number. */
export function clamped(value, size) {
  return Math.max(0, Math.min(size - 1, value));
}

/**
 * `canvas` with a frame around one of its cells; `pick(row, column)` is called with the one that was
 * chosen. `show(row, column, text, [height, width], span)` moves the frame, which is around span × span
 * cells, and says `text` to a screen reader; the size is that of the canvas where it is left out.
 */
export function picker(canvas, label, pick) {
  const mark = h("div", { class: "mark" });
  const box = h(
    "div",
    {
      class: "picker",
      tabindex: 0,
      role: "slider",
      "aria-label": label,
      "aria-valuemin": 0,
    },
    canvas,
    mark,
  );
  let at = [0, 0];
  let [height, width] = [1, 1];
  const fromPointer = (event) => {
    const { left, top, width: w, height: t } = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - top) / t) * height);
    pick(clamped(row, height), clamped(Math.floor(((event.clientX - left) / w) * width), width));
  };
  box.addEventListener("pointerdown", (event) => {
    box.setPointerCapture(event.pointerId);
    fromPointer(event);
  });
  box.addEventListener("pointermove", (event) => {
    if (event.buttons) fromPointer(event);
  });
  box.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const far = event.shiftKey ? 8 : 1;
    pick(clamped(at[0] + far * step[0], height), clamped(at[1] + far * step[1], width));
  });
  const show = (row, column, text, size = [canvas.height, canvas.width], span = 1) => {
    at = [row, column];
    [height, width] = size;
    box.setAttribute("aria-valuemax", height * width - 1);
    mark.style.left = `${(100 * (column - (span - 1) / 2)) / width}%`;
    mark.style.top = `${(100 * (row - (span - 1) / 2)) / height}%`;
    mark.style.width = `${(100 * span) / width}%`;
    mark.style.height = `${(100 * span) / height}%`;
    box.setAttribute("aria-valuenow", row * width + column);
    box.setAttribute("aria-valuetext", text);
  };
  return { box, show };
}
