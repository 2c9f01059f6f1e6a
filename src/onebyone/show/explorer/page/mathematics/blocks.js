// Blocks made of 1x1s and a costly layer, beside one convolution in their place.

import { parameters, weights } from "./count.js";

/** A convolution's sizes with what it costs at `positions`: its parameters, with biases, and its MACs. */
function counted(inputs, outputs, kernel, positions) {
  return {
    inputs,
    outputs,
    kernel,
    parameters: parameters(inputs, outputs, kernel),
    macs: weights(inputs, outputs, kernel) * positions,
  };
}

function total(layers, name) {
  return layers.reduce((sum, layer) => sum + layer[name], 0);
}

/** 1x1 down, K x K, 1x1 up, and the K x K that they stand for: inputs -> outputs, without a middle. */
export function bottleneck(inputs, middle, outputs, kernel, positions) {
  const layers = [
    counted(inputs, middle, 1, positions),
    counted(middle, middle, kernel, positions),
    counted(middle, outputs, 1, positions),
  ];
  const block = { parameters: total(layers, "parameters"), macs: total(layers, "macs") };
  const share = (layers[0].macs + layers[2].macs) / block.macs;
  return { layers, block, wide: counted(inputs, outputs, kernel, positions), pointwiseShare: share };
}

/** MACs at one position: K x K in each channel alone, then a 1x1; and the convolution in their place. */
export function separable(inputs, outputs, kernel) {
  const depthwise = weights(inputs, inputs, kernel, inputs);
  const pointwise = weights(inputs, outputs);
  return { depthwise, pointwise, pair: depthwise + pointwise, standard: weights(inputs, outputs, kernel) };
}

/**
 * A skip from (inputs, side, side): the shape that it gives, its weights, the share of the positions that
 * it reads. `kind`: "identity", "projection" (a strided 1x1), "zeros" (positions are left out, channels
 * of zeros added), "average" (windows of stride x stride, then a 1x1).
 */
export function skip(kind, inputs, outputs, stride, side) {
  if (kind === "identity") return { channels: inputs, side, weights: 0, read: 1 };
  const after = Math.ceil(side / stride);
  const read = kind === "average" ? 1 : (after * after) / (side * side);
  return { channels: outputs, side: after, weights: kind === "zeros" ? 0 : weights(inputs, outputs), read };
}
