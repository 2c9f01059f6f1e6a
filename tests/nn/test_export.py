"""Each block compiled, exported, and as an ONNX file optimised: one pointwise for each pointwise.

Blocks and inputs hold small integers, on which float32, float16 and bfloat16 are exact: outputs are
compared by `==` with the block in float64. Where a block has a sigmoid or divides by any number,
they are held to the bound of docs/numerics.md.
"""

from __future__ import annotations

import io
import shutil
from collections import Counter
from math import inf

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import onebyone
from onebyone.nn.pointwise import Pointwise
from onebyone.optimize.report import Report
from onebyone.verify.bound import Noise, limits

from .blocks import BLOCKS, MOSTLY_SLOW, TWO, Block, operators, sample, with_small_integers

# What the compilers and exporters say of themselves.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
        "You are using the legacy TorchScript-based ONNX export:DeprecationWarning",
        "The feature will be removed. Please remove usage:DeprecationWarning",
        "Converting a tensor to a Python boolean:torch.jit.TracerWarning",  # sizes are checked
        "Constant folding - Only steps=1 can be constant folded:UserWarning",
        r"`torch\.jit\.\w+` is deprecated:DeprecationWarning",
    )
]

each_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
mostly_slow = pytest.mark.parametrize("block", MOSTLY_SLOW)


def made(block: Block) -> nn.Module:
    return with_small_integers(block.make())


def another(block: Block) -> Tensor:
    """An input twice as long along each axis that may have any size."""
    shape = tuple(n * (1 + (axis in block.free)) for axis, n in enumerate(block.shape))
    return sample(shape, seed=1)


def check(block: Block, x: Tensor, y: Tensor) -> None:
    """Hold y to what the block gives for x in float64: by `==`, or within the bound."""
    expected = made(block).double()(x.double()).detach()
    assert y.shape == expected.shape
    assert expected.unique().numel() > 1, "a constant proves nothing"
    if block.exact:
        assert torch.equal(y.double(), expected)
        return
    # Nothing is known of the noise here, which leaves 16·u·max|r|, over the tensor and each slice.
    r, unit = expected.numpy(), torch.finfo(y.dtype).eps / 2
    bound = limits(r, Noise(np.zeros_like(r), 1, sum(1 for _ in made(block).modules()), unit))
    assert (np.abs(y.detach().double().numpy() - r) <= bound).all()


@each_block
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_forward_in_each_dtype(block: Block, dtype: torch.dtype) -> None:
    x = sample(block.shape)
    y = made(block).to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    check(block, x, y)


@mostly_slow
def test_compile_without_graph_breaks(block: Block) -> None:
    torch.compiler.reset()
    module = made(block)
    # One graph for all sizes. The backend traces forward and backward as inductor does, and runs
    # them as they are, which saves the time to compile them.
    fast = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for x in (sample(block.shape), another(block)):
        y = fast(x.requires_grad_())
        check(block, x.detach(), y)
        if block.exact:
            (gradient,) = torch.autograd.grad(y.sum(), x)
            (expected,) = torch.autograd.grad(module(x).sum(), x)
            assert torch.equal(gradient, expected)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", TWO)
def test_compile_to_machine_code(name: str) -> None:
    torch.compiler.reset()
    block = BLOCKS[name]
    fast, x = torch.compile(made(block), fullgraph=True), sample(block.shape)
    with torch.no_grad():
        check(block, x, fast(x))


def exported(block: Block) -> torch.export.ExportedProgram:
    """With each free axis dynamic: an error if the block would fix one of them."""
    free = dict.fromkeys(block.free, torch.export.Dim.DYNAMIC)
    return torch.export.export(made(block), (sample(block.shape),), dynamic_shapes=(free,))


@mostly_slow
def test_torch_export_for_any_size(block: Block) -> None:
    program = exported(block).module()
    for x in (sample(block.shape), another(block)):
        check(block, x, program(x))


def dynamo(block: Block) -> onnx.ModelProto:
    program = torch.onnx.export(exported(block), dynamo=True, verbose=False, opset_version=18)
    return program.model_proto


def torchscript(block: Block) -> onnx.ModelProto:
    file, axes = io.BytesIO(), {axis: f"axis{axis}" for axis in block.free}
    torch.onnx.export(
        made(block), (sample(block.shape),), file, dynamo=False, opset_version=17,
        input_names=["x"], dynamic_axes={"x": axes},
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def rewritten(block: Block, model: onnx.ModelProto) -> tuple[ir.Model, Report]:
    shapes = {model.graph.input[0].name: block.shape}
    # Small integers hold dead channels and low ranks: what these laws leave are fewer pointwises or
    # more, not those of the block. Nor have integers digits to lose.
    result = onebyone.optimize(model, shapes=shapes, without=["prune", "rank"], lost_bits=inf)
    return result.model, result.report


def pointwises(model: ir.Model) -> int:
    """Products of a constant matrix with the channels at each position."""
    weights = {
        kind: [node.inputs[1].const_value for node in model.graph if node.op_type == kind]
        for kind in ("Conv", "MatMul", "Gemm", "Einsum")
    }
    constant = {kind: [w for w in ws if w is not None] for kind, ws in weights.items()}
    ones = [w for w in constant.pop("Conv") if set(w.shape[2:]) == {1}]
    return len(ones) + sum(map(len, constant.values()))


def check_model(block: Block, model: ir.Model, report: Report) -> None:
    """Proved equal, runs at other sizes, and has one pointwise for each pointwise."""
    assert report.certificate is not None
    assert report.certificate.passed
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for x in (sample(block.shape), another(block)):
        (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        check(block, x, torch.from_numpy(y))
    assert pointwises(model) == sum(isinstance(m, Pointwise) for m in made(block).modules())


def found(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@mostly_slow
def test_onnx_holds_the_block_and_nothing_else(block: Block) -> None:
    model, report = rewritten(block, dynamo(block))
    check_model(block, model, report)
    assert found(model) == operators(block.operators)


@mostly_slow
def test_onnx_by_torchscript(block: Block) -> None:
    model, report = rewritten(block, torchscript(block))
    check_model(block, model, report)
    assert found(model) == operators(block.script or block.operators)
