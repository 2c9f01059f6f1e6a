// What a convolution costs, from its sizes alone. K x K kernel, g groups, P positions of the output:
//   weights = K·K·C_in/g · C_out      parameters = weights + C_out, with a bias      MACs = weights · P

/** The weights of a convolution of `inputs` to `outputs` channels. */
export function weights(inputs, outputs, kernel = 1, groups = 1) {
  return kernel * kernel * (inputs / groups) * outputs;
}

/** Its weights and its biases. */
export function parameters(inputs, outputs, kernel = 1, groups = 1, bias = true) {
  return weights(inputs, outputs, kernel, groups) + (bias ? outputs : 0);
}

/** Its multiplications, each with an addition, for an output of `positions` positions. */
export function macs(inputs, outputs, positions, kernel = 1, groups = 1) {
  return weights(inputs, outputs, kernel, groups) * positions;
}
