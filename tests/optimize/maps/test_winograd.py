"""K×Ks on tiles: `==` in every form, what is chosen, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import lcm
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import ModelProto
from tests.quick import slow_but_pairs

from onebyone.algebra.winograd import BASES, Basis, in_basis
from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import Cost, Profile
from onebyone.errors import UsageError
from onebyone.graph.count import macs
from onebyone.graph.evaluate import evaluate
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes
from onebyone.graph.write import to_proto
from onebyone.optimize.maps import tiles, winograd
from onebyone.optimize.maps.tiled_kernels import Form, Site, forms_of, reads_nothing, site_of
from onebyone.optimize.maps.tiled_models import TIMED, on_tiles
from onebyone.optimize.maps.tiles import cost_of, strips_of
from onebyone.optimize.verdict import cost

from ...graphs.run import differences, run
from ...graphs.text import feed, integers, model
from ..exact import COUNTING
from .few_channels import FEW, optimize

SAME = "pads = [1, 1, 1, 1]"
X = "float[2,3,9,7] x"
FREE = "float[N,3,9,7] x"


def made(attributes: str = SAME, inputs: str = X, tail: str = "", **constants: Any) -> ModelProto:
    body = f"y = Conv<{attributes}>(x, k{', b' if 'b' in constants else ''})"
    return model(body + tail, inputs, "y", {"k": (5, 3, 3, 3), **constants})


def odd(basis: Basis) -> int:
    """What taps have to be multiples of for U to be whole."""
    return lcm(*(entry.denominator for row in basis.exact[2] for entry in row))


def tiled(proto: ModelProto, form: Form, strips: Sequence[range] = ()) -> ir.Model:
    """The model with its one convolution in a form, whatever it costs, at once or in strips."""
    (node,) = (node for node in read(proto).graph if node.op_type == "Conv")
    assert isinstance(site_of(node), Site)
    return on_tiles(proto, form, strips)


def both(taps: tuple[int, int]) -> list[Form]:
    """All forms of a kernel of these taps."""
    node = read(made(k=(5, 3, *taps), attributes="pads = [2, 2, 2, 2]")).graph[0]
    site = site_of(node)
    assert isinstance(site, Site)
    return list(forms_of(site))


# Equal --------------------------------------------------------------------------------------------

Kind = tuple[tuple[int, int], Form]
KERNELS = [(3, 3), (2, 2), (5, 5), (3, 1), (2, 3), (5, 2), (3, 7)]
FORMS = [(taps, form) for taps in KERNELS for form in both(taps)]


def test_the_forms_of_a_kernel() -> None:
    assert [str(form) for form in both((3, 3))] == [
        "tiles of 2 rows", "tiles of 3 rows", "tiles of 4 rows", "tiles of 4×4",
    ]  # fmt: skip
    assert [str(form) for form in both((3, 7))] == [f"tiles of {m} rows" for m in (2, 3, 4)]


PADS = [(0, 0, 0, 0), (1, 1, 1, 1), (2, 0, 1, 3)]


@pytest.mark.parametrize(("taps", "form"), FORMS, ids=str)
@pytest.mark.parametrize("pads", PADS, ids=str)
def test_all_forms_of_all_kernels(taps: tuple[int, int], form: Form, pads: tuple[int, ...]) -> None:
    """Batch 2, 3 → 5 channels, H ≠ W, sizes that are no multiple of m; to the bit.

    U is whole, and stored without a rounding; in float64 no sum leaves 53 bits.
    """
    times = odd(form.rows) * (odd(form.columns) if form.columns else 1)
    weight = integers("k", (5, 3, *taps)) * np.float32(times)
    proto = made(f"pads = {list(pads)}", k=weight)
    given = feed(proto)
    assert same(evaluate(read(proto), given), evaluate(tiled(proto, form), given))


@pytest.mark.parametrize(("taps", "form"), FORMS, ids=str)
@pytest.mark.parametrize("strips", [(), (range(1), range(1, 3), range(3, 5))], ids=["", "strips"])
def test_groups_stay_apart(taps: tuple[int, int], form: Form, strips: Sequence[range]) -> None:
    """Three groups of 2 → 3 channels each."""
    times = odd(form.rows) * (odd(form.columns) if form.columns else 1)
    weight = integers("k", (9, 2, *taps)) * np.float32(times)
    high = 5 * form.rows.outputs + taps[0] - 2
    proto = made("pads = [0, 1, 0, 1], group = 3", f"float[2,6,{high},7] x", k=weight)
    given = feed(proto)
    assert same(evaluate(read(proto), given), evaluate(tiled(proto, form, strips), given))


@pytest.mark.parametrize(
    ("kind", "dilations", "pads", "height"),
    slow_but_pairs(
        [(taps, form) for taps, form in FORMS if not form.columns],
        [(2, 1), (1, 2), (3, 2)],
        [(0, 0, 0, 0), (1, 2, 3, 0)],
        [17, 24, 31],
    ),
    ids=str,
)
def test_tiles_of_dilated_kernels_lie_in_one_another(
    kind: Kind, dilations: tuple[int, int], pads: tuple[int, ...], height: int
) -> None:
    taps, form = kind
    weight = integers("k", (5, 3, *taps)) * np.float32(odd(form.rows))
    attributes = f"pads = {list(pads)}, dilations = {list(dilations)}"
    proto = made(attributes, f"float[2,3,{height},15] x", k=weight)
    given = feed(proto)
    wanted = evaluate(read(proto), given)
    assert same(wanted, evaluate(tiled(proto, form), given))
    outputs = height + pads[0] + pads[2] - (taps[0] - 1) * dilations[0]
    rows = -(-outputs // (form.rows.outputs * dilations[0]))
    strips = [range(k, k + 1) for k in range(rows)]
    assert same(wanted, evaluate(tiled(proto, form, strips), given))


@pytest.mark.parametrize(("pads", "known"), [("4, 2, 2, 2", False), ("5, 2, 2, 2", True)])
def test_a_dilated_kernel_that_reads_padding_alone(pads: str, known: bool) -> None:
    """Three rows two apart: the last of them is in the image behind a padding of four, not five."""
    proto = made(f"pads = [{pads}], dilations = [2, 2]", "float[1,3,16,18] x")
    site = site_of(read(proto).graph[0])
    assert isinstance(site, Site)
    assert [str(form) for form in forms_of(site)] == [f"tiles of {m} rows" for m in (2, 3, 4)]
    assert reads_nothing(site) == known


def test_groups_are_tiled_for_twice_the_way() -> None:
    """As far as the way is nearly free, and no further; in float32 the certificate holds."""
    draw = np.random.default_rng(0).standard_normal
    proto = made(f"{SAME}, group = 4", "float[1,192,28,28] x",
                 k=draw((256, 48, 3, 3)).astype(np.float32))  # fmt: skip
    site = site_of(read(proto).graph[0])
    assert isinstance(site, Site)
    form = Form(BASES[4, 3])

    def taken(rows: float) -> int:
        return cost_of(site, form, strips_of(site, form, 1), 1, Profile(rows=rows)).picoseconds

    result = tiled(proto, form)
    sizes, way = Sizes(result), 0
    for node in result.graph:
        work = macs(result.graph, sizes, [node])
        if node.op_type != "Conv":
            way += node_time(node, work, Profile(), lambda value: elements_of(value, sizes))
    assert taken(3) - taken(1) == 2 * 2 * way
    report = optimize(proto, only=["winograd"], profile=Profile(rows=0.1)).report
    assert [law.note for law in report.laws] == ["tiles of 4 rows"]
    assert report.certificate is not None
    assert report.certificate.passed


@pytest.mark.parametrize(
    ("kind", "pads", "first"),
    slow_but_pairs(FORMS, [(0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 2)], [1, 2]),
    ids=str,
)
def test_strip_by_strip(kind: Kind, pads: tuple[int, ...], first: int) -> None:
    """Strips of unequal heights, as the last one is where rows of tiles do not come out even."""
    taps, form = kind
    times = odd(form.rows) * (odd(form.columns) if form.columns else 1)
    weight = integers("k", (5, 3, *taps)) * np.float32(times)
    proto = made(f"pads = {list(pads)}", "float[2,3,17,7] x", k=weight)
    rows = -(-(17 + pads[0] + pads[2] - taps[0] + 1) // form.rows.outputs)
    strips = [range(first), *(range(k, min(k + 2, rows)) for k in range(first, rows, 2))]
    given = feed(proto)
    result = tiled(proto, form, strips)
    assert same(evaluate(read(proto), given), evaluate(result, given))
    written = to_proto(result)
    assert sum(node.op_type == "Concat" for node in written.graph.node) == 1
    assert len(run(written, given)) == 1  # an engine takes it, too


def test_as_many_rows_together_as_stay_in_a_cache() -> None:
    """Equal strips, sixteen at most; a batch counts, and what each number of U is read for."""

    def heights(inputs: str, form: str, batch: int = 1, c_out: int = 64) -> list[int]:
        proto = made(inputs=inputs, k=integers("k", (c_out, 64, 3, 3)))
        site = site_of(read(proto).graph[0])
        assert isinstance(site, Site)
        (found,) = (each for each in forms_of(site) if str(each) == form)
        strips = strips_of(site, found, batch)
        assert [row for rows in strips for row in rows] == [*range(strips[-1].stop)]
        return [len(rows) for rows in strips]

    assert heights("float[1,64,56,56] x", "tiles of 4 rows") == [14]
    # 6 groups of 64 channels in rows of 112 numbers: 43,008 of 300,000; 7 rows and no less.
    assert heights("float[1,64,112,112] x", "tiles of 4 rows") == [7, 7, 7, 7]
    assert heights("float[1,64,112,112] x", "tiles of 4 rows", batch=2) == [5, 6, 5, 6, 6]
    assert heights("float[1,64,112,112] x", "tiles of 4 rows", c_out=128) == [5, 6, 5, 6, 6]
    assert heights("float[1,64,512,256] x", "tiles of 4 rows") == [8] * 16
    # 36 groups in 28 columns are 64,512 numbers; in 14 columns five rows are 64 of them.
    assert heights("float[1,64,112,112] x", "tiles of 4×4") == [5, 6, 5, 6, 6]
    assert heights("float[1,64,56,56] x", "tiles of 4×4", c_out=256) == [7, 7]


TWO = BASES[2, 3]


@pytest.mark.parametrize("form", [Form(TWO), Form(TWO, TWO)], ids=str)
@pytest.mark.parametrize("inputs", [X, FREE, "float[1,3,1,1] x", "float[3,3,1,6] x"])
def test_in_float32_with_a_bias(form: Form, inputs: str) -> None:
    """At the points 0, 1, −1 all is of few bits: to the bit in an engine, too; any batch."""
    proto = made(SAME, inputs, k=4 * integers("k", (5, 3, 3, 3)), b=(5,))
    given = feed(proto, N=3)
    result = to_proto(tiled(proto, form))
    assert differences(run(proto, given)[0], run(result, given)[0]) == []


@pytest.mark.parametrize("form", both((3, 3)), ids=str)
def test_a_bias_is_added_once(form: Form) -> None:
    """Where 1 is no point, the bias is a sum of several numbers that are rounded."""
    proto = made(SAME, k=np.zeros((5, 3, 3, 3), np.float32), b=(5,))
    given = feed(proto)
    a, b = evaluate(read(proto), given)["y"], evaluate(tiled(proto, form), given)["y"]
    terms = (np.abs(form.outputs) @ np.abs(form.one)).max() * np.abs(a).max()
    assert np.abs(a - b).max() <= 2.0**-23 * terms


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_is_worked_out(pad: str) -> None:
    form = Form(BASES[2, 2], BASES[2, 2])
    proto = made(f'auto_pad = "{pad}"', k=(5, 3, 2, 2))
    given = feed(proto)
    result = to_proto(tiled(proto, form))
    assert differences(run(proto, given)[0], run(result, given)[0]) == []


# What it costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bias", "cached"), slow_but_pairs(FORMS, [{}, {"b": (5,)}], [300_000, 100]), ids=str
)
def test_a_form_costs_what_its_operators_do(
    kind: Kind, bias: dict[str, Any], cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what pays cannot raise the modelled time of the whole."""
    taps, form = kind
    monkeypatch.setattr(tiles, "_CACHED", cached)
    monkeypatch.setattr(tiles, "_READ_FOR", {False: 1, True: 1})
    plain = Profile(overhead=1e-9, rows=3, tiles=5)
    proto = made(SAME, k=(5, 3, *taps), **bias)
    before = read(proto)
    site = site_of(before.graph[0])
    assert isinstance(site, Site)
    strips = strips_of(site, form, 2)
    assert (len(strips) > 1) == (cached == 100)
    result = tiled(proto, form, strips)
    sizes, total, dearer = Sizes(result), Cost(), 5 if form.columns else 3
    for node in result.graph:
        work = macs(result.graph, sizes, [node])
        time = node_time(node, work, plain, lambda value: elements_of(value, sizes))
        # The way to tiles and back is dearer: all but the products.
        products = node.op_type == "Conv" and node.attributes.get_int("group", 1) > 1
        total += Cost(time * (1 if products else dearer), work)
    found = cost_of(site, form, strips, 2, plain)
    more = in_basis(site.weight, form.bases).size - site.weight.size
    assert found.macs == total.macs
    # What stands behind a convolution is computed with it; behind tiles it reads and writes.
    behind = plain.time(elements=2 * elements_of(before.graph.outputs[0], Sizes(result)))
    assert found.picoseconds == total.picoseconds + behind + plain.reading(max(0, more))


# What is chosen -----------------------------------------------------------------------------------


def chosen(channels: int, side: int, **options: Any) -> list[str]:
    """The forms that one 3×3 gets."""
    draw = np.random.default_rng(0).standard_normal
    weight = draw((channels, channels, 3, 3)).astype(np.float32)
    proto = made(inputs=f"float[1,{channels},{side},{side}] x", k=weight)
    options = {"only": ["winograd"], "verify": False, **options}
    return [law.note for law in optimize(proto, **options).report.laws]


def test_rows_or_tiles_by_the_channels_and_the_digits() -> None:
    assert chosen(40, 28) == []
    assert chosen(48, 28) == ["tiles of 4 rows"]
    assert chosen(128, 28) == ["tiles of 4 rows"]
    assert chosen(128, 28, lost_bits=6) == ["tiles of 4 rows"]
    assert chosen(384, 28) == ["tiles of 4 rows"]
    assert chosen(384, 28, lost_bits=6) == ["tiles of 4×4"]
    assert chosen(384, 28, lost_bits=1) == ["tiles of 2 rows"]
    assert chosen(384, 28, lost_bits=0.5) == []


def test_small_maps_stay() -> None:
    """Of 7 × 7 all numbers of U would be read for two rows of tiles."""
    assert chosen(128, 8, lost_bits=6) == []
    assert chosen(384, 7, lost_bits=6) == []
    assert chosen(384, 16) == ["tiles of 4 rows"]


@pytest.mark.parametrize(
    ("dilation", "share", "forms"),
    [(1, (97 / 99) ** 2, ["tiles of 3 rows"]), (6, (29 / 33) ** 2, ["tiles of 3 rows"]),
     (18, (21 / 33) ** 2, [])],
)  # fmt: skip
def test_engines_pass_over_taps_that_read_padding(
    dilation: int, share: float, forms: list[str]
) -> None:
    draw = np.random.default_rng(0).standard_normal
    proto = made(
        f"pads = {[dilation] * 4}, dilations = {[dilation] * 2}",
        "float[1,512,33,33] x",
        k=draw((256, 512, 3, 3)).astype(np.float32),
    )
    site = site_of(read(proto).graph[0])
    assert isinstance(site, Site)
    assert site.in_the_image == pytest.approx(share, rel=1e-12)
    report = optimize(proto, only=["winograd"], verify=False).report
    assert [law.note for law in report.laws] == forms


def test_the_profile_decides() -> None:
    assert chosen(128, 28, profile=Profile(rows=4.5)) == []
    assert chosen(128, 28, profile=Profile(rows=2)) == ["tiles of 4 rows"]
    both = Profile(rows=2, tiles=2)
    assert chosen(256, 16, profile=both, lost_bits=6) == ["tiles of 4×4"]
    assert chosen(256, 16, profile=replace(both, tiles=9), lost_bits=6) == ["tiles of 4 rows"]
    assert chosen(256, 16, profile=replace(both, tiles=9, rows=9), lost_bits=6) == []


def test_a_twentieth_has_to_be_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is stored is more: 128 channels are 1.01 times as fast by this price."""
    machine = Profile(rows=3.8)
    assert chosen(128, 28, profile=machine) == []
    monkeypatch.setattr(winograd, "_GAIN", 1.0)
    assert chosen(128, 28, profile=machine) == ["tiles of 4 rows"]


def test_by_default_few_channels_and_small_maps_stay() -> None:
    """No slower on two threads of a Xeon: docs/decisions/0035-winograd.md."""
    default = {"profile": Profile(), "lost_bits": 6}
    for channels, side in ((64, 112), (96, 56), (128, 28), (256, 14), (512, 7)):
        assert chosen(channels, side, **default) == []
    for channels, side in ((256, 20), (256, 28)):
        assert chosen(channels, side, **default) == ["tiles of 4 rows"]
    assert chosen(512, 28, **default) == ["tiles of 4×4"]


@pytest.mark.parametrize(
    ("channels", "sizes", "note"),
    [(64, "96,112", "tiles of 4 rows"), (256, "48,50", "tiles of 4×4")],
)
def test_what_a_profile_times_is_what_the_law_writes(channels: int, sizes: str, note: str) -> None:
    """Two layers of several strips each, node by node, with the same numbers."""
    draw = np.random.default_rng(0).standard_normal
    kernels = {name: draw((channels, channels, 3, 3)).astype(np.float32) for name in ("k", "l")}
    body = f"h = Conv<{SAME}>(x, k) y = Conv<{SAME}>(h, l)"
    proto = model(body, f"float[1,{channels},{sizes}] x", "y", kernels)
    machine = replace(FEW, bandwidth=1e15, overhead=1e-9, tiles=1e9 if channels == 64 else 1)
    law = optimize(proto, only=["winograd"], lost_bits=6, verify=False, profile=machine)
    assert {each.note for each in law.report.laws} == {note}
    field = "tiles" if note == "tiles of 4×4" else "rows"
    timed = onnx.load_model_from_string(TIMED[field].written(proto.SerializeToString()))

    def told(proto: ModelProto) -> list[tuple[Any, ...]]:
        stored = {t.name: t.raw_data for t in proto.graph.initializer}
        return [
            (node.op_type, sorted(map(str, node.attribute)), [stored.get(n) for n in node.input])
            for node in proto.graph.node
        ]

    assert sum(node.op_type == "Concat" for node in timed.graph.node) == 2
    assert told(timed) == told(to_proto(law.model))


# What is asked for --------------------------------------------------------------------------------


def large(**constants: Any) -> ModelProto:
    given = {"k": 4 * integers("k", (160, 128, 3, 3)), **constants}
    return made(inputs="float[1,128,28,30] x", **given)


def test_only_where_it_is_asked_for() -> None:
    assert optimize(large()).report.unchanged
    assert not optimize(large(), also=["winograd"]).report.unchanged
    assert not optimize(large(), only=["winograd"]).report.unchanged
    assert not optimize(large(), only=["rank"], also=["winograd"], verify=False).report.unchanged
    assert optimize(large(), also=["winograd"], without=["winograd"]).report.unchanged
    with pytest.raises(UsageError, match="got law 'winnow', wanted one of"):
        optimize(large(), also=["winnow"])


@pytest.mark.parametrize("bits", [4.0, 6.0])
def test_it_is_proved_by_itself_and_as_a_whole(bits: float) -> None:
    draw = np.random.default_rng(0).standard_normal
    weight = draw((192, 256, 3, 3)).astype(np.float32)
    proto = made(SAME, "float[1,256,16,20] x", k=weight, b=(192,))
    profile = Profile(rows=1, tiles=1)
    report = optimize(proto, only=["winograd"], lost_bits=bits, profile=profile).report
    (law,) = report.laws
    assert law.note == ("tiles of 4×4" if bits > 4 else "tiles of 4 rows")
    assert bits - 2 < law.lost_bits < bits
    # The verdict says both what the file costs and what is lost.
    assert "weights " in cost(report)
    assert f"up to {law.lost_bits:.1f} bits of what is computed on tiles" in cost(report)
    assert law.proved
    assert report.certificate is not None
    assert report.certificate.alone is not None
    assert report.certificate.alone.complete
    # Of one layer alone more than four bits may be seen: then nothing is written.
    assert report.certificate.passed or bits > 4


def test_behind_all_other_laws_once_and_in_any_order() -> None:
    """A scale goes into the kernel first; what is tiled stays as it is, for all laws."""
    body = f"c = Conv<{SAME}>(x, k) s = Mul(c, g) r = Relu(s) y = Conv<{SAME}>(r, w)"
    k, w = integers("k", (24, 16, 3, 3), 60), 4 * integers("w", (20, 24, 3, 3), 60)
    proto = model(
        body, "float[N,16,24,27] x", "y", {"k": k, "g": np.full((24, 1, 1), 4, np.float32), "w": w}
    )
    # No more bits than the points 0, 1, −1 lose: whole numbers stay whole.
    machine = replace(COUNTING, rows=1)
    options: dict[str, Any] = {"profile": machine, "lost_bits": 1.3, "verify": False}
    given = feed(proto, N=2)
    for laws in ({"only": ["winograd", "affine"]}, {"also": ["winograd"]}):
        result = optimize(proto, **laws, **options)
        assert {law.law for law in result.report.laws} == {"winograd", "affine"}
        after = to_proto(result.model)
        assert [n.op_type for n in after.graph.node].count("MatMul") == 4
        assert "Mul" not in [n.op_type for n in after.graph.node]
        assert differences(run(proto, given)[0], run(after, given)[0]) == []
        again = optimize(after, **laws, **options)
        assert again.report.unchanged
