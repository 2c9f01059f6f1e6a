// A 1x1 and a space map in both orders: S f(W x + b) and f(W (S x) + b), f a ReLU or nothing.

import { pointwise } from "./pointwise.js";
import { SPACES, applySpace, sizeAfter } from "./space.js";

/**
 * Both orders on x (channels, height, width) for W (1, channels): what is in between and what comes out,
 * and where the two differ most.
 */
export function bothOrders(name, x, [height, width], W, b, relu) {
  const after = sizeAfter(name, [height, width]);
  const before = height * width;
  const behind = after[0] * after[1];
  const layer = (input, positions) => {
    const y = pointwise(W, input, positions, b ? [b] : undefined);
    return relu ? y.map((value) => Math.max(0, value)) : y;
  };
  const mixed = layer(x, before);
  const moved = applySpace(name, x, [height, width]);
  const outputs = [applySpace(name, mixed, [height, width]), layer(moved, behind)];
  const gaps = outputs[0].map((value, n) => value - outputs[1][n]);
  const worst = gaps.reduce((at, gap, n) => (Math.abs(gap) > Math.abs(gaps[at]) ? n : at), 0);
  const macs = [W.length * before, W.length * behind];
  return { after, mixed, moved, outputs, gaps, worst, differing: gaps.filter((gap) => gap).length, macs };
}

/** Why the law of commuting does not promise that both are equal; nothing where it does. */
export function refusal(name, b, relu) {
  const { axis, keepsConstants, selects } = SPACES[name];
  if (!axis) return "maximum";
  if (b && !keepsConstants) return "bias";
  return relu && !selects ? "relu" : undefined;
}
