// The colours of the tokens as canvases take them, and the scale orange - paper - blue.

const NAMES = ["paper", "sheet", "ink", "quiet", "line", "channels", "positions"];
let known;

/** The tokens as [red, green, blue], 0 to 255, as the theme has them now. */
export function colours() {
  known ??= Object.fromEntries(NAMES.map((name) => [name, resolved(name)]));
  return known;
}

/** To be called after a change of the theme. */
export function forgetColours() {
  known = undefined;
}

function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return parts;
}

/** Of `t` from -1 to 1: orange at -1, paper at 0, blue at 1. */
export function diverging(t) {
  const { paper, channels, positions } = colours();
  const end = t < 0 ? positions : channels;
  const share = Math.min(1, Math.abs(t));
  return paper.map((from, c) => Math.round(from + (end[c] - from) * share));
}

/** Of `t` from 0 to 1: paper at 0, ink at 1. */
export function ramp(t) {
  const { paper, ink } = colours();
  return paper.map((from, c) => Math.round(from + (ink[c] - from) * t));
}

/** A colour as CSS writes it. */
export function css([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}
