"""Inputs that look for trouble: what loses digits only there is found, what does not passes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from onebyone.verify.certificate import Certificate
from onebyone.verify.verify import verify

from ..graphs import text
from ..optimize.networks import FAULTS, composed, deep, edited

RNG = np.random.default_rng(7)


def model(
    body: str, inputs: str, outputs: str = "y", constants: Mapping[str, object] | None = None
) -> ModelProto:
    """The model with these nodes; scalars are welcome."""
    arrays = {name: np.asarray(value) for name, value in (constants or {}).items()}
    return text.model(body, inputs, outputs, arrays)


def drawn(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


W = drawn(5, 8)


def shifted(mean: float, std: float, kind: str, folded: bool) -> ModelProto:
    """(x - mean) / std in front of a linear layer, or that folded into its weight and bias."""
    scale = np.float64(np.float32(std))
    if not folded:
        body = "f = Cast<to = 1>(x) c = Sub(f, m) n = Div(c, s) y = MatMul(n, w)"
        weights = {"m": np.float32(mean), "s": np.float32(std), "w": W}
    else:
        body = "f = Cast<to = 1>(x) h = MatMul(f, w) y = Add(h, b)"
        product = W.astype(np.float64) / scale
        bias = (-np.float64(np.float32(mean)) * product.sum(0)).astype(np.float32)
        weights = {"w": product.astype(np.float32), "b": bias}
    return model(body, f"{kind}[6,5] x", "float[6,8] y", weights)


@pytest.mark.parametrize("kind", ["int64", "int32", "float", "uint16", "double"])
@pytest.mark.parametrize(("mean", "std"), [(2000, 10), (1e5, 10), (32768, 20), (-273.15, 0.25)])
def test_a_centring_that_is_folded_away_is_found(mean: float, std: float, kind: str) -> None:
    if kind == "uint16" and not 0 < mean < 2**16:
        return
    apart, folded = (shifted(mean, std, kind, folded) for folded in (False, True))
    certificate = verify(apart, folded)
    assert not certificate.passed
    assert not certificate.undecided
    assert certificate.worst.startswith(f"near {np.float32(mean):.6g} input")
    assert all(trial.passed for trial in certificate.trials)
    assert verify(apart, apart).passed


@pytest.mark.parametrize(("mean", "std"), [(0.485, 0.229), (127.5, 127.5), (1, 1), (15, 1)])
def test_a_centring_that_costs_few_bits_may_be_folded(mean: float, std: float) -> None:
    """ImageNet's 1.6 bits, and up to the four that a rewrite may lose: 15 + 1 times the noise."""
    for kind in ("float", "int64"):
        apart, folded = (shifted(mean, std, kind, folded) for folded in (False, True))
        certificate = verify(apart, folded)
        assert certificate.passed, certificate.worst


def test_the_callers_data_are_what_they_are() -> None:
    """Moved by one rounding, 0.008 of 1e5, they would hide what the folded model loses on them."""
    apart, folded = (shifted(1e5, 10, "float", folded) for folded in (False, True))
    data = {"x": (1e5 + RNG.integers(-10, 11, (6, 5))).astype(np.float32)}
    certificate = verify(apart, folded, data=data)
    given = certificate.trials[0]
    assert (given.kind, given.passed) == ("given", False)
    assert "own roundings" in given.outputs[0].reason
    assert not certificate.undecided


def windows(folded: bool) -> ModelProto:
    """(x - 32768) / 20 of 16-bit images in front of a convolution of one channel."""
    weight, mean, std = W[:4, :6].T.reshape(6, 1, 2, 2).copy(), 32768.0, 20.0
    if not folded:
        body = "f = Cast<to = 1>(x) c = Sub(f, m) n = Div(c, s) y = Conv(n, w)"
        weights = {"m": np.full((1, 1, 1, 1), mean, np.float32), "s": np.float32(std), "w": weight}
    else:
        body = "f = Cast<to = 1>(x) y = Conv(f, w, b)"
        product = weight.astype(np.float64) / std
        bias = (-mean * product.sum((1, 2, 3))).astype(np.float32)
        weights = {"w": product.astype(np.float32), "b": bias}
    return model(body, "uint16[1,1,9,7] x", "float[1,6,8,6] y", weights)


def test_a_16_bit_image_is_found_too() -> None:
    assert not verify(windows(False), windows(True)).passed
    assert verify(windows(False), windows(False)).passed


def normalised(kind: str, mean: float, folded: bool) -> ModelProto:
    """A batch normalisation as the first node, and a 1×1; or its mean in the bias."""
    means = np.float32([mean, mean / 2, 0])
    weight = W[:3, :4].T.reshape(4, 3, 1, 1).copy()
    one, zero, var = np.ones(3, np.float32), np.zeros(3, np.float32), np.full(3, 4, np.float32)
    if not folded:
        body = f"{kind} y = Conv(n, w)"
        weights = {"m": means, "one": one, "zero": zero, "v": var, "w": weight}
        if kind == LAID_OUT:
            weights = {"m": means, "two": np.float32(2), "w": weight}
    else:
        body = "y = Conv(x, w, b)"
        product = weight[..., 0, 0].astype(np.float64) / 2
        bias = (-product @ means).astype(np.float32)
        weights = {"w": product.astype(np.float32)[..., None, None], "b": bias}
    return model(body, "float[2,3,7,5] x", "float[2,4,7,5] y", weights)


NORM = "n = BatchNormalization<epsilon = 0.0>(x, one, zero, m, v)"
LAID_OUT = (
    "t = Transpose<perm = [0, 2, 3, 1]>(x) s = Sub(t, m) d = Div(s, two) "
    "n = Transpose<perm = [0, 3, 1, 2]>(d)"
)


@pytest.mark.parametrize("kind", [NORM, LAID_OUT])
def test_constants_are_followed_channel_by_channel_whatever_the_layout(kind: str) -> None:
    assert not verify(normalised(kind, 1e4, False), normalised(kind, 1e4, True)).passed
    assert verify(normalised(kind, 2, False), normalised(kind, 2, True)).passed


MASKS = {
    "1 - mask": ("a = Sub(one, u) p = Mul(a, low) z = Add(s, p)", "p = Mul(u, high)"),
    "mask - 1": ("a = Sub(u, one) p = Mul(a, high) z = Add(s, p)", "p = Mul(u, high)"),
    "mask * 1e9 - 1e9": ("a = Mul(u, high) p = Sub(a, high) z = Add(s, p)", "p = Mul(u, high)"),
    "mask * 1e9 + -1e9": ("a = Mul(u, high) p = Add(a, low) z = Add(s, p)", "p = Mul(u, high)"),
}


def scored(body: str, kind: str, width: float, bias: float) -> ModelProto:
    """Scores of a linear layer and a mask, then a softmax over the tokens."""
    constants = {
        "w": W[:, :1].copy(), "b": np.float32([bias]), "one": np.float32([1]),
        "low": np.float32([-width]), "high": np.float32([width]), "axis": np.array([2]),
    }  # fmt: skip
    head = "h = MatMul(x, w) s = Add(h, b) c = Cast<to = 1>(m) u = Unsqueeze(c, axis)"
    text = f"{head} {body} q = Softmax<axis = 1>(z)"
    used = {name: value for name, value in constants.items() if name in text.replace(",", " ")}
    return model(text, f"float[2,7,5] x, {kind}[2,7] m", "float[2,7,1] z, float[2,7,1] q", used)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", ["float", "int64", "bool"])
def test_a_constant_of_a_mask_in_the_bias_wipes_the_scores_and_is_found(
    mask: str, kind: str
) -> None:
    apart, rest = MASKS[mask]
    original = scored(apart, kind, 1e9, 0.25)
    folded = scored(f"{rest} z = Add(s, p)", kind, 1e9, float(np.float32(0.25 - 1e9)))
    certificate = verify(original, folded)
    assert not certificate.passed
    assert not certificate.undecided
    assert verify(original, original).passed


def test_a_mask_of_ten_may_be_folded() -> None:
    apart, rest = MASKS["1 - mask"]
    certificate = verify(
        scored(apart, "float", 10, 0.25), scored(f"{rest} z = Add(s, p)", "float", 10, 0.25 - 10)
    )
    assert certificate.passed, certificate.worst


DIFFERENCES = np.float32([[1, 0, 0], [-1, 1, 0], [0, -1, 1], [0, 0, -1]])


def differences(folded: bool, scale: float = 1.0) -> ModelProto:
    """Differences of neighbours, then a linear layer; or the product of the two."""
    first, second = DIFFERENCES * np.float32(scale), W[:3]
    if not folded:
        return model("h = MatMul(x, d) y = MatMul(h, w)", "float[6,4] x", "float[6,8] y",
                     {"d": first, "w": second})  # fmt: skip
    product = (first.astype(np.float64) @ second).astype(np.float32)
    return model("y = MatMul(x, w)", "float[6,4] x", "float[6,8] y", {"w": product})


def test_a_layer_of_differences_is_exact_and_its_product_is_not() -> None:
    certificate = verify(differences(False), differences(True))
    assert not certificate.passed
    assert certificate.worst.startswith("offset input")
    assert all(trial.passed for trial in certificate.trials)


@pytest.mark.parametrize("seed", range(8))
def test_layers_whose_products_round_may_be_composed(seed: int) -> None:
    """They cancel as well, and had their rounding before."""
    original, other = differences(False, 0.3), differences(True, 0.3)
    certificate = verify(original, other, seed=seed)
    assert certificate.passed, certificate.worst


def apart(moved: bool, alone: bool = True) -> ModelProto:
    """W(x - z), or Wx - Wz; beside it, W of x."""
    body = "h = MatMul(x, w) g = MatMul(z, w) d = Sub(h, g)"
    body = body if moved else "e = Sub(x, z) d = MatMul(e, w)"
    body += " y = Identity(d)" if alone else " k = MatMul(x, v) y = Add(d, k)"
    weights = {"w": W, "v": -W[:, ::-1].copy()}
    used = {name: value for name, value in weights.items() if name == "w" or not alone}
    return model(body, "float[6,5] x, float[6,5] z", "float[6,8] y", used)


def test_a_product_may_not_be_moved_across_a_difference_of_inputs() -> None:
    assert not verify(apart(False), apart(True)).passed


def test_unless_another_term_keeps_the_size_of_its_operands() -> None:
    certificate = verify(apart(False, alone=False), apart(True, alone=False))
    assert certificate.passed, certificate.worst


# --- what is said, and what is not -----------------------------------------------------------


def attention(kind: str) -> ModelProto:
    """Scores and a mask of finfo.min that is added, as transformers writes it."""
    return model(
        "s = Add(x, m) p = Softmax<axis = -1>(s) y = Mul(p, x)",
        f"{kind}[2,7,7] x, {kind}[2,1,7] m",
        f"{kind}[2,7,7] y",
    )


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
def test_masks_of_the_smallest_float_are_asked_where_something_is_added(kind: str) -> None:
    certificate = verify(attention(kind), attention(kind))
    assert certificate.passed
    assert "smallest float" in kinds(certificate)
    other = model("y = Relu(x)", "float[3] x")
    assert "smallest float" not in kinds(verify(other, other))


def kinds(certificate: Certificate) -> list[str]:
    return [trial.kind for trial in certificate.trouble]


def test_all_kinds_are_told() -> None:
    certificate = verify(shifted(2000, 10, "float", False), shifted(2000, 10, "float", False))
    wanted = ["near 2000", "offset", "ones", "mask", "image 0..255", "image 0..1", "zeros"]
    assert kinds(certificate) == [*wanted, "denormal"]
    told = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert [trial["kind"] for trial in told["trouble"]] == kinds(certificate)
    assert told["unproved"] == []
    assert "near 2000, offset, ones" in str(certificate)
    assert max(map(len, str(certificate).splitlines())) <= 100


def test_bytes_are_asked_from_0_to_255_and_indices_are_not() -> None:
    picture = model("f = Cast<to = 1>(x) y = Mul(f, f)", "uint8[1,3,5,4] x", "float[1,3,5,4] y")
    assert kinds(verify(picture, picture)) == ["ones", "mask", "image 0..255", "zeros"]
    table = model("y = Gather(t, i)", "int64[3,4] i", constants={"t": W})
    assert kinds(verify(table, table)) == ["ones", "mask", "zeros"]


def test_where_the_original_gives_numbers_that_are_none_nothing_is_proved() -> None:
    """B differs there, as it may; and would fail if A gave numbers."""
    logs = model("h = Log(x) y = Mul(h, k)", "float[6] x", constants={"k": np.float32([2])})
    other = model("h = Mul(x, x) y = Log(h)", "float[6] x")
    data = {"x": np.float32([1, 2, 3, 4, 5, 6])}
    certificate = verify(logs, other, data=data)
    assert any("NaN or infinities" in reason for reason in certificate.unproved)
    assert "not proved" in str(certificate)


def test_where_the_original_loses_its_digits_nothing_is_proved() -> None:
    """The sine of the square of 65536 hangs on the last bits; other orders of it may not fail."""
    one = model("a = Add(x, k) b = Mul(a, a) y = Sin(b)", "float[40] x",
                constants={"k": np.float32(0.125)})  # fmt: skip
    body = "a = Mul(x, x) b = Mul(x, t) d = Add(a, b) s = Add(d, q) y = Sin(s)"
    other = model(body, "float[40] x", constants={"t": np.float32(0.25), "q": np.float32(0.015625)})
    certificate = verify(one, other)
    assert certificate.passed
    assert any(r.startswith("offset: ") and "digits" in r for r in certificate.unproved)
    assert "offset" not in kinds(certificate)


def test_what_moving_the_callers_data_leaves_open_their_own_roundings_decide() -> None:
    """Moved by a rounding, x near 10⁵ moves (x - 10⁵) / 10 by 8e-4; the numbers given do not."""
    data = {"x": (1e5 + RNG.integers(-10, 11, (6, 5))).astype(np.float32)}
    apart, folded = (shifted(1e5, 10, "float", folded) for folded in (False, True))
    minus = {"m": np.float32(-1e5), "s": np.float32(0.1), "w": W}
    body = "f = Add(x, m) c = Mul(f, s) y = MatMul(c, w)"
    reordered = model(body, "float[6,5] x", "float[6,8] y", minus)
    assert verify(apart, apart, data=data).passed
    assert verify(apart, reordered, data=data).passed
    certificate = verify(apart, folded, data=data)
    assert not certificate.passed
    assert not certificate.undecided


def test_what_is_exact_by_luck_alone_is_no_yardstick() -> None:
    """4x(1-x) stays at 1 and 0 from ½ on, exactly, and nowhere near it with another rounding."""
    body = "".join(f"a{k} = Sub(one, x{k}) b{k} = Mul(x{k}, a{k}) x{k + 1} = Mul(b{k}, w) "
                   for k in range(30))  # fmt: skip
    chain = f"x0 = Sigmoid(x) {body} y = Identity(x30)"
    four = np.float32([4])
    one, other = (
        model(chain, "float[3,5] x", constants={"one": np.float32([1]), "w": w})
        for w in (four, np.nextafter(four, np.float32(0)))
    )
    assert verify(one, other).undecided


def test_a_fault_that_only_an_image_shows_is_found() -> None:
    """Clipped at 200 or not: standard normal numbers are never there."""
    whole = model("y = Mul(x, k)", "float[1,3,8,8] x", constants={"k": np.float32([2])})
    clipped = model("h = Mul(x, k) y = Min(h, top)", "float[1,3,8,8] x",
                    constants={"k": np.float32([2]), "top": np.float32([400])})  # fmt: skip
    certificate = verify(whole, clipped)
    assert all(trial.passed for trial in certificate.trials)
    assert not certificate.passed


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_honest_rewrites_pass_in_every_precision(dtype: type, seed: int) -> None:
    original = deep(dtype, seed=seed)
    certificate = verify(original, composed(original), shapes={"x": (1, 5, 17, 23)}, seed=seed)
    assert certificate.passed, certificate.worst
    assert len(certificate.trouble) > 2


def test_faults_are_found_there_as_well() -> None:
    original = deep()
    faulty = edited(original, FAULTS["a square matrix is transposed"])
    certificate = verify(original, faulty, shapes={"x": (1, 5, 17, 23)})
    assert not any(trial.passed for trial in certificate.trouble)


def test_the_extreme_of_the_shapes_is_asked() -> None:
    free = model("y = Relu(x)", "float[N,3,H] x")
    sizes = {t.kind: dict(t.shapes)["x"] for t in verify(free, free).trouble}
    assert sizes["size 1"] == (1, 3, 1)
    assert sizes["offset"] == (1, 3, 32)


def test_the_same_seed_asks_the_same() -> None:
    original = shifted(2000, 10, "float", False)
    first, again, other = (verify(original, original, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


# --- scalars, and sizes that belong together ---------------------------------------------------


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
def test_a_scalar_integer_input_is_asked(kind: str) -> None:
    """Drawn from 0 to 9, and again as 0 or 1 where it has to be an index of two."""
    body = "c = Cast<to = 7>(i) m = Gather(t, c) y = MatMul(x, m)"
    tables = {"t": np.stack([W[:, :5], W[:, 3:]])}
    proto = model(body, f"float[4,5] x, {kind} i", "float[4,5] y", tables)
    assert verify(proto, proto).passed
    swapped = edited(proto, {"t": lambda t: t[::-1].copy()})
    assert not verify(proto, swapped).passed


@pytest.mark.parametrize("kind", ["float", "bool", "int64"])
def test_a_scalar_of_any_type_is_asked(kind: str) -> None:
    proto = model("c = Cast<to = 1>(s) y = Mul(x, c)", f"float[4] x, {kind} s", "float[4] y")
    assert verify(proto, proto).passed


def test_sizes_that_are_expressions_of_others_are_drawn_with_them() -> None:
    """A cache of P tokens and S new ones, masked together: P + S."""
    x, past, mask = (
        helper.make_tensor_value_info(name, 1, shape)
        for name, shape in (("x", ["B", "S"]), ("past", ["B", "P"]), ("mask", ["B", "P + S"]))
    )
    nodes = [
        helper.make_node("Concat", ["past", "x"], ["all"], axis=1),
        helper.make_node("Add", ["all", "mask"], ["y"]),
    ]
    y = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph(nodes, "g", [x, past, mask], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    certificate = verify(proto, proto)
    assert certificate.skipped == ()
    assert [trial.kind for trial in certificate.trials] == ["random", "drawn", "drawn"]
    for trial in (*certificate.trials, *certificate.trouble):
        sizes = {name: shape[1] for name, shape in trial.shapes.items()}
        assert sizes["mask"] == sizes["past"] + sizes["x"]


def test_where_sizes_are_fixed_and_large_only_what_the_graph_shows_is_asked() -> None:
    """Each would take more than its share: but a constant that cancels is worth it."""
    weight = numpy_helper.from_array(RNG.standard_normal((4096, 256)).astype(np.float32), "w")
    plain = model("y = MatMul(x, w)", "float[512,4096] x", constants={
        "w": numpy_helper.to_array(weight)})  # fmt: skip
    certificate = verify(plain, plain)
    assert certificate.trouble == ()
    assert "not asked" in certificate.unproved[0]
    centred = model("c = Sub(x, m) y = MatMul(c, w)", "float[512,4096] x", constants={
        "w": numpy_helper.to_array(weight), "m": np.float32([1000])})  # fmt: skip
    assert kinds(verify(centred, centred)) == ["near 1000"]


def test_a_size_at_which_nothing_is_left_proves_nothing() -> None:
    """Engines compute a convolution of nothing, or refuse to: B may ask for it where A does not."""
    ends = {"a": np.array([1]), "b": np.array([9999]), "c": np.array([3])}
    weights = {"w": W[:2, :3].T.reshape(3, 2, 1, 1).copy(), **ends}
    first = model("h = Conv(x, w) y = Slice(h, a, b, c)", "float[N,2,5,H] x", constants=weights)
    other = model("s = Slice(x, a, b, c) y = Conv(s, w)", "float[N,2,5,H] x", constants=weights)
    certificate = verify(first, other)
    assert certificate.passed, certificate.worst
    assert any(reason.startswith("size 1: ") for reason in certificate.unproved)
