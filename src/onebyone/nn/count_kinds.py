"""What kind of operator each of PyTorch's operators is to those who count."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from onebyone.counting.operators import Ran, averages
from onebyone.nn.count_trace import Operand, Step

__all__ = ["KIND_OF", "ran"]

_OPERATORS = {
    "adaptive average pool": "_adaptive_avg_pool2d _adaptive_avg_pool3d",
    "average pool": "avg_pool1d avg_pool2d avg_pool3d",
    "batch normalisation": "_batch_norm_no_update _native_batch_norm_legit_no_training "
    "cudnn_batch_norm native_batch_norm",
    "bilinear resize": "upsample_bilinear2d upsample_linear1d _upsample_bilinear2d_aa",
    "fused attention": "_scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention "
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_fused_attention_overrideable",
    "group normalisation": "native_group_norm",
    "instance normalisation": "_native_batch_norm_legit",
    "layer normalisation": "_fused_rms_norm native_layer_norm",
    "max pool": "max_pool1d max_pool2d_with_indices max_pool3d_with_indices",
    "nearest resize": "_unsafe_index _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d upsample_nearest1d upsample_nearest2d upsample_nearest3d",
    "product": "_int_mm _scaled_mm addbmm addmm _addmm_activation addmv baddbmm bmm dot mm mv vdot",
    "recurrence": "gru lstm rnn_relu rnn_tanh",
    "softmax": "_log_softmax _softmax",
    "ELU": "elu",
    "GELU": "gelu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "_prelu_kernel",
    "ReLU": "relu",
    "ReLU6": "hardtanh",
    "SiLU": "silu",
    "activation": "celu hardsigmoid hardswish mish selu sigmoid softplus tanh threshold",
}
KIND_OF: Mapping[str, str] = {op: kind for kind, ops in _OPERATORS.items() for op in ops.split()}
"""Name of an operator, without the underscore of one that writes in place -> its kind."""


def ran(step: Step) -> Ran:
    """A step as the tally of operators has it; it wrote something."""
    read = next((operand for operand in step.inputs if not operand.constant), None)
    written = step.outputs[0]
    elements = 0 if read is None else prod(read.shape)
    return Ran(step.op, _kind(step, read, written), step.work, elements, prod(written.shape))


def _kind(step: Step, read: Operand | None, written: Operand) -> str:
    name = step.op.removesuffix("_")
    if name == "convolution":
        return _convolution(step)
    if name == "mean" and read is not None and averages(read.shape, written.shape):
        return "adaptive average pool"
    kind = KIND_OF.get(name, "other")
    if kind == "product" and step.work and step.work.pointwise_macs:
        return "linear"
    return kind


def _convolution(step: Step) -> str:
    """Transposed where the taps are counted at the positions of what it reads (`formulas`)."""
    x, y = step.inputs[0].shape, step.outputs[0].shape
    weight = step.inputs[1].shape
    at_output = step.work is not None and step.work.macs == prod(y) * prod(weight[1:])
    # Without axes there is nothing to write stamps on.
    if x and not at_output:
        return "transposed convolution"
    return "convolution"
