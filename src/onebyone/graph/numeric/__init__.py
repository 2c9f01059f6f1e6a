"""What each ONNX operator computes, in NumPy: the kernels behind `graph.evaluate`.

    elementwise    one value from the values at the same position
    contraction    MatMul, Gemm, Einsum, convolutions
    window         pooling and resizing
    statistic      normalisations, reductions, softmax
    layout         what moves, joins and cuts tensors
    sampling       values at computed positions

A kernel is called as `kernel(call, *inputs)`; an absent optional input is None. It returns the
first output, or a tuple of them, or None where it leaves the case to the ONNX reference
implementation. Floating inputs come in `call.dtype`; all others as the model stores them.
"""

from __future__ import annotations

from onebyone.graph.numeric import contraction, elementwise, layout, sampling, statistic, window
from onebyone.graph.numeric.call import Kernel

__all__ = ["KERNELS"]

KERNELS: dict[str, Kernel] = {
    **elementwise.KERNELS,
    **contraction.KERNELS,
    **window.KERNELS,
    **statistic.KERNELS,
    **layout.KERNELS,
    **sampling.KERNELS,
}
