"""What the count of a PyTorch module leaves out, and why: all that computes is mentioned."""

from __future__ import annotations

from onebyone.counting.gaps import ARITHMETIC, CONSTANT, INTEGER, NO_FORMULA
from onebyone.nn.count_trace import Step

__all__ = ["FOREIGN", "INNER", "reason"]

FOREIGN = "operator of another library: what it computes is not known"
INNER = "runs functions that it was given: what they compute is not seen"

_MOVING = """
    _reshape_copy _to_copy cat clone constant_pad_nd copy embedding empty empty_like empty_strided
    expand_copy eye fill flip full full_like gather im2col index index_put index_select
    lift_fresh_copy masked_fill masked_scatter masked_select native_channel_shuffle new_empty
    new_empty_strided new_full new_ones new_zeros ones ones_like permute_copy pixel_shuffle
    pixel_unshuffle reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave
    replication_pad1d replication_pad2d replication_pad3d resize roll scalar_tensor scatter
    select_scatter slice_scatter split_with_sizes_copy stack take transpose_copy tril triu
    unfold_copy upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d view_copy where zero zeros zeros_like
"""
_MULTIPLYING = """
    _cdist_forward _cslt_sparse_mm _dyn_quant_matmul_4bit _euclidean_dist _fft_c2c _fft_c2r
    _fft_r2c _grouped_mm _linalg_det _linalg_eigh _linalg_slogdet _linalg_solve_ex _linalg_svd
    _mixed_dtypes_linear _native_multi_head_attention _scaled_grouped_mm _scaled_grouped_mm_v2
    _scaled_mm_v2 _sparse_addmm _sparse_mm_reduce_impl _sparse_semi_structured_addmm
    _sparse_semi_structured_linear _sparse_semi_structured_mm _thnn_fused_gru_cell
    _thnn_fused_lstm_cell _transformer_encoder_layer_fwd _trilinear _weight_int4pack_mm
    _weight_int4pack_mm_for_cpu _weight_int8pack_mm addr cholesky cholesky_inverse
    cholesky_solve conv_tbc geqrf hspmm linalg_cholesky_ex linalg_eig linalg_householder_product
    linalg_inv_ex linalg_ldl_factor_ex linalg_ldl_solve linalg_lstsq linalg_lu
    linalg_lu_factor_ex linalg_lu_solve linalg_matrix_exp linalg_qr linalg_solve_triangular
    mkldnn_linear ormqr sparse_sampled_addmm sspaddmm triangular_solve
"""
_MOVES = frozenset(_MOVING.split())
_NO_FORMULA = frozenset(_MULTIPLYING.split())


def reason(step: Step) -> str | None:
    """Why what a step without counted MACs computes is left out; None if it computes nothing."""
    if step.op.startswith("higher_order::"):
        return INNER
    if "::" in step.op:
        return FOREIGN
    name = step.op.removesuffix("_")
    # What has MACs is told as such also where it makes a constant: somebody will ask for it.
    if name in _NO_FORMULA:
        return NO_FORMULA
    if name in _MOVES:
        return None
    if step.constant:
        return CONSTANT
    operands = (*step.inputs, *step.outputs)
    if all(operand.integral for operand in operands):
        return INTEGER
    return ARITHMETIC
