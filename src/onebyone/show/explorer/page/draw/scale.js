// The scale of a raster that is orange below zero and blue above.

import { fixed } from "../format.js";
import { h, write } from "../dom.js";

/** A strip of colours with its ends in numbers; `draw(most)` says that they are -most and most. */
export function divergingScale() {
  const low = h("span", { class: "number" });
  const high = h("span", { class: "number" });
  const draw = (most) => {
    write(low, fixed(-most));
    write(high, fixed(most));
  };
  return { box: h("span", { class: "scale" }, low, h("i"), high), draw };
}
