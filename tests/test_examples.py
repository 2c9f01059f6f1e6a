"""The training examples, each for a few steps: `make examples` runs them in full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib import import_module
from itertools import pairwise
from math import hypot, sqrt
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from tests.quick import slow_but

EXAMPLES = Path(__file__).parents[1] / "examples"

Example = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    """A module of the examples by its name; what they ask of torch is undone."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield import_module
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def halves(example: Example) -> tuple[object, object]:
    """Training and held-out digits."""
    return example("digits").load(np.random.default_rng(0))


# ---------------------------------------------------------------------------------------- digits


def test_digits_are_what_they_say(halves: tuple) -> None:
    for half, per_class in zip(halves, (400, 100), strict=True):
        assert half.images.shape == (10 * per_class, 1, 28, 28)
        assert half.images.dtype == torch.float32
        assert (half.images.min(), half.images.max()) == (0, 1)
        assert half.labels.dtype == torch.int64
        assert half.labels.bincount().tolist() == [per_class] * 10


def test_no_held_out_digit_is_trained_on(halves: tuple) -> None:
    training, held_out = ({image.numpy().tobytes() for image in half.images} for half in halves)
    assert len(training) == 4000
    assert len(held_out) == 1000
    assert not training & held_out


def test_labels_belong_to_their_images(halves: tuple) -> None:
    training, held_out = halves
    means = torch.stack([training.images[training.labels == d].mean(0) for d in range(10)])
    nearest = torch.cdist(held_out.images.flatten(1), means.flatten(1)).argmin(1)
    # The classifier by nearest mean is known to read about 80 %; of shuffled labels it would 10 %.
    assert (nearest == held_out.labels).double().mean() > 0.7


def test_shifts_go_everywhere_and_no_further(example: Example) -> None:
    digits = example("digits")
    dots = torch.zeros(500, 1, 7, 9)
    dots[:, 0, 3, 4] = 1
    moved = digits.shifted(dots, np.random.default_rng(0))
    assert moved.shape == dots.shape
    assert (moved.sum((1, 2, 3)) == 1).all()
    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(y, x) for y in range(1, 6) for x in range(2, 7)}
    assert torch.equal(digits.shifted(dots, np.random.default_rng(0), by=0), dots)


def test_batches_are_training_digits_once_an_epoch(example: Example) -> None:
    training = example("training")
    order = training.epochs(np.random.default_rng(0), 10, 3)
    parts = [next(order) for _ in range(6)]
    for epoch in (parts[:3], parts[3:]):
        chosen = torch.cat(epoch)
        assert len(chosen) == len(chosen.unique()) == 9
    assert parts[0].tolist() != parts[3].tolist()


def _falls(losses: list[float]) -> bool:
    """Each of the last third is below each of the first."""
    third = len(losses) // 3
    return max(losses[-third:]) < min(losses[:third])


@pytest.mark.parametrize(
    "name",
    slow_but("depthwise separable", of=("network in network, bottlenecks", "depthwise separable")),
)
def test_digit_networks_learn(name: str, example: Example, halves: tuple) -> None:
    training, held_out = halves
    digits = example("digits")
    few = digits.Images(held_out.images[::20], held_out.labels[::20])
    trained = example("train_digits").train(name, training, few, steps=15)
    assert _falls(trained.losses), trained.losses
    again = example("train_digits").train(name, training, few, steps=2)
    other = example("train_digits").train(name, training, few, steps=2)
    assert again.losses == other.losses


def test_bottlenecks_halve_the_work(example: Example) -> None:
    count, networks = example("onebyone.nn.count").count, example("digit_networks").NETWORKS
    digit = torch.zeros(1, 1, 28, 28)
    macs = {name: count(make().eval(), digit).macs for name, make in networks.items()}
    for name in ("network in network", "3×3 convolutions"):
        assert macs[f"{name}, bottlenecks"] <= macs[name] / 2


def test_a_missed_goal_is_an_exit_code(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    digits, training = example("train_digits"), example("training")

    def goals(narrow: float) -> list:
        full = digits.Trained(100, 1, 0.97, [], 0)
        trained = dict.fromkeys(example("digit_networks").NETWORKS, full)
        for name in ("network in network", "3×3 convolutions"):
            trained[f"{name}, bottlenecks"] = digits.Trained(50, 1, narrow, [], 0)
        return digits.goals(trained)

    assert training.verdict(goals(0.961)) == 0
    assert "MISSED" not in capsys.readouterr().out
    assert training.verdict(goals(0.959)) == 1
    assert capsys.readouterr().out.count("MISSED") == 2


# ---------------------------------------------------------------------------------------- solids

NAMES = (
    "sphere",
    "hemisphere",
    "capsule",
    "cylinder",
    "cone",
    "torus",
    "cube",
    "tetrahedron",
    "octahedron",
    "triangular prism",
)
ROUND = 6  # the first so many are surfaces of revolution


@pytest.mark.parametrize("label", range(10), ids=NAMES)
def test_points_lie_on_the_surface(label: int, example: Example) -> None:
    solid = example("solids").SOLIDS[label]
    assert solid.name == NAMES[label]
    points = solid.sample(np.random.default_rng(label), 3001)
    assert points.shape == (3001, 3)
    # Drawing a point and its equation take less than 64 roundings of numbers below 4.
    rounding = 64 * 4 * 2.0**-53
    assert np.abs(solid.implicit(points)).max() <= rounding
    assert np.linalg.norm(points, axis=1).max() <= 1 + rounding
    for outward in (0.99, 1.01) if solid.name != "torus" else ():  # round the origin all but it
        assert (np.sign(solid.implicit(outward * points)) == np.sign(outward - 1)).mean() > 0.9


# Parts of a surface and their shares of its area: first of one piece among others, then within one.
SHARES = {
    "sphere": [(lambda p: p[:, 2] > 0.5, 1 / 4), (lambda p: p[:, 0] > 0.5, 1 / 4)],
    "hemisphere": [
        (lambda p: p[:, 2] <= -0.4, 1 / 3),
        (lambda p: (p[:, 2] <= -0.4) & (np.hypot(p[:, 0], p[:, 1]) < 0.45), 1 / 3 / 4),
    ],
    "capsule": [
        (lambda p: np.abs(p[:, 2]) < 0.5, 0.5 / (0.5 + 0.45)),
        (lambda p: p[:, 2] > 0.5 + 0.225, 0.225 / 0.95 / 2),
    ],
    "cylinder": [
        (lambda p: np.abs(p[:, 2]) < 0.75, 0.75 / (0.75 + 0.3)),
        (lambda p: np.hypot(p[:, 0], p[:, 1]) < 0.3, 0.3 / 1.05 / 4),
    ],
    "cone": [
        (lambda p: p[:, 2] <= -0.6, 0.75 / (0.75 + hypot(0.75, 1.5))),
        (lambda p: p[:, 2] > 0.15, hypot(0.75, 1.5) / (0.75 + hypot(0.75, 1.5)) / 4),
    ],
    "torus": [
        (lambda p: np.hypot(p[:, 0], p[:, 1]) > 0.7, 1 / 2 + 0.3 / (np.pi * 0.7)),
        (lambda p: p[:, 0] * p[:, 1] > 0, 1 / 2),
    ],
    "cube": [
        (lambda p: p[:, 2] > 0.5773, 1 / 6),
        (lambda p: (p[:, 2] > 0.5773) & (p[:, :2] > 1 / sqrt(12)).all(1), 1 / 6 / 16),
    ],
    "tetrahedron": [
        (lambda p: p[:, 2] < -0.3333, 1 / 4),
        (lambda p: p[:, 2] > 1 / 3, 3 / 4 / 4),
    ],
    "octahedron": [(lambda p: (p > 0).all(1), 1 / 8), (lambda p: p[:, 0] > 0.5, 1 / 2 / 4)],
    # Two triangles of circumradius 0.8 and three sides of 0.8 √3 by 1.2.
    "triangular prism": [
        (lambda p: p[:, 2] > 0.59999, 0.48 / 3.84),
        (lambda p: (p[:, 2] > 0.59999) & (p[:, 0] > 0.2), 0.48 / 3.84 / 4),
    ],
}


@pytest.mark.parametrize("label", range(10), ids=NAMES)
def test_points_are_uniform_by_area(label: int, example: Example) -> None:
    solid, count = example("solids").SOLIDS[label], 20_000
    points = solid.sample(np.random.default_rng(label), count)
    for part, share in SHARES[solid.name]:
        # Five standard deviations of a binomial share: one seed in two million is further off.
        assert abs(part(points).mean() - share) <= 5 * sqrt(share * (1 - share) / count)


@pytest.mark.parametrize(
    ("label", "faces", "area"),
    [(6, 6, 8), (7, 4, 8 / sqrt(3)), (8, 8, 4 * sqrt(3)), (9, 5, 3.84 * sqrt(3))],
)
def test_polyhedra_have_all_their_faces(
    label: int, faces: int, area: float, example: Example
) -> None:
    solid = example("solids").SOLIDS[label]
    points = solid.sample(np.random.default_rng(0), 2000)
    # A face is met by the gradient of f: as many gradients as faces.
    step = 1e-6
    moved = [solid.implicit(points * (1 + step) + step * axis) for axis in np.eye(3)]
    slopes = np.stack(moved, 1) - solid.implicit(points * (1 + step))[:, None]
    _, times = np.unique(np.round(slopes / step, 3) + 0.0, axis=0, return_counts=True)
    assert (times > 20).sum() == faces
    assert sum(piece.area for piece in solid.pieces) == pytest.approx(area, rel=1e-12)


def test_clouds_are_turned_solids(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    solids = example("solids")
    monkeypatch.setattr(solids, "JITTER", 0)
    monkeypatch.setattr(solids, "SCALES", (1, 1))
    labels = np.array([5, 0, 3, 9, 1, 2, 4, 5])
    clouds = solids.clouds(np.random.default_rng(0), labels, 33)
    assert clouds.shape == (8, 3, 33)
    assert clouds.dtype == torch.float32
    for label, cloud in zip(labels, clouds.double().numpy(), strict=True):
        if label < ROUND:
            # Coordinates below 1 rounded to float32, seen through slopes of at most 2.
            assert np.abs(solids.SOLIDS[label].implicit(cloud.T)).max() <= 4 * 2.0**-24
    prism = clouds[3].numpy()
    assert set(np.abs(prism[2]).round(5)) > {np.float32(0.6)}
    assert np.hypot(*prism[:2]).max() <= 0.8 + 2.0**-22


def test_clouds_vary(example: Example) -> None:
    solids = example("solids")
    spheres = solids.clouds(np.random.default_rng(0), np.zeros(50, int), 64)
    radii = spheres.norm(dim=1)
    assert 0.75 < radii.mean(1).min() < 0.85
    assert 1.2 < radii.mean(1).max() < 1.3
    # The noise along the radius, relative to spheres of about one, is JITTER's.
    spread = (radii - radii.mean(1, keepdim=True)).std()
    assert 0.9 * solids.JITTER < spread < 1.1 * solids.JITTER


def test_point_net_learns_from_clouds_it_is_not_judged_on(example: Example) -> None:
    points, training = example("train_points"), example("training")
    stream, rest = training.fixed(0).spawn(2)
    held_out, labels = points.held_out(rest, 2)
    assert labels.tolist() == [label for label in range(10) for _ in range(2)]
    seen = [next(points.batches(stream, 16)) for _ in range(3)]
    trained_on = set(torch.cat([x.flatten() for x, _ in seen]).tolist())
    assert len(trained_on & set(held_out.flatten().tolist())) < 20  # of 15,360: floats do collide
    network = points.network()
    losses = training.fit(network, points.batches(stream, 16), points.loss, steps=15, rate=4e-3)
    assert _falls(losses), losses
    scores = training.answers(network, held_out)
    again = training.answers(network, points.shuffled(held_out, rest))
    assert torch.equal(scores.argmax(1), again.argmax(1))


def test_shuffling_keeps_points_whole(example: Example) -> None:
    cloud = torch.arange(2 * 3 * 7.0).reshape(2, 3, 7)
    shuffled = example("train_points").shuffled(cloud, np.random.default_rng(0))
    for before, after in zip(cloud, shuffled, strict=True):
        order = after[0].argsort()
        assert torch.equal(after[:, order], before)
    orders = [after[0].argsort().tolist() for after in shuffled]
    assert orders[0] != orders[1] != list(range(7))


# ------------------------------------------------------------------------------------ class maps


def test_class_maps_learn(example: Example) -> None:
    maps, training = example("train_class_maps"), example("training")
    rng = training.fixed(0)
    digits, rest = example("demo_data").split(rng, 100)
    assert len(rest.labels) == 1000
    x, wanted = next(maps.batches(digits, rng, 2))
    assert x.shape == (2, 1, 96, 112)
    assert wanted.shape == (2, 10, 48, 56)
    network = example("map_network").MapNetwork((8, 12, 16), 8)
    assert network(x[:, :, :33, :51]).shape == (2, 10, 17, 26)
    losses = training.fit(network, maps.batches(digits, rng, 4), maps.loss, steps=12, rate=8e-3)
    assert _falls(losses), losses


def test_wanted_maps_show_each_digit_in_its_own(example: Example) -> None:
    demo = example("demo_data")
    rng = np.random.default_rng(0)
    digits, _ = demo.split(rng)
    canvases = demo.compose(digits, np.arange(10).reshape(2, 5), rng)
    wanted = example("train_demo").targets(canvases)
    for maps, boxes, labels in zip(wanted, canvases.boxes, canvases.labels, strict=True):
        for (top, left, bottom, right), label in zip(boxes // 2, labels, strict=True):
            assert maps[label, top:bottom, left:right].any()
        assert set(maps.sum((1, 2)).nonzero().flatten().tolist()) == set(labels.tolist())


def test_maps_are_judged_pixel_by_pixel(example: Example) -> None:
    judge = example("train_class_maps").judge
    wanted, logits = torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 3), -1.0)
    wanted[0, 0, 0, :2] = 1
    wanted[0, 1, 1, :2] = 1
    logits[0, 0, 0, :] = 2  # two hits, one on background
    logits[0, 1, 0, 0] = 1  # less than map 0 says there
    logits[0, 1, 1, 0] = 1  # a hit; the other is left out
    found = judge(logits, wanted)
    assert found.pixels == 4 / 6
    assert found.ink == 3 / 4
    assert found.union == pytest.approx((2 / 3, 1 / 2), abs=2.0**-24)
    assert judge(2 * wanted - 1, wanted).mean_union == 1


def test_figure_shows_wanted_above_painted(example: Example) -> None:
    canvas = np.full((4, 60), 77, np.uint8)
    wanted, maps = np.zeros((2, 1, 2, 2, 30), np.float32)
    wanted[0, 1], maps[0, 0, 0, 0] = 1, 0.5
    drawn = example("map_figure").figure([canvas], wanted, maps)
    tiles = [np.asarray(axes.images[0].get_array()) for axes in drawn.axes]
    grey = canvas / np.float32(255)
    for shown, expected in zip(tiles, [grey, *wanted[0], grey, *maps[0]], strict=True):
        np.testing.assert_array_equal(shown, expected)


# -------------------------------------------------------------------------------------- parallel


def test_bounds_hold_in_any_order(example: Example) -> None:
    rounding = example("rounding")
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator).double() / 3 for shape in ((4, 9), (9, 5)))
    near = rounding.exact(a) @ rounding.exact(b)
    rows = [[Fraction(x) for x in row] for row in a.tolist()]
    columns = [[Fraction(x) for x in column] for column in b.T.tolist()]
    truth = [[sum(map(Fraction.__mul__, r, c)) for c in columns] for r in rows]
    for seed in range(20):
        order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
        total = torch.zeros(4, 5, dtype=torch.float64)
        for k in order:
            total = total + a[:, k : k + 1] * b[k]
        off = [
            abs(Fraction(found) - wanted) <= Fraction(bound)
            for found_row, wanted_row, bounds in zip(
                total.tolist(), truth, near.error.tolist(), strict=True
            )
            for found, wanted, bound in zip(found_row, wanted_row, bounds, strict=True)
        ]
        assert all(off)
    # Meaningful: less than nine roundings of the absolute sum, and not nothing.
    assert (near.error <= 10 * 2.0**-53 * (a.abs() @ b.abs())).all()
    assert (near.error > 0).all()


def test_errors_are_carried_on(example: Example) -> None:
    near = example("rounding").Near
    x = near(torch.tensor([[2.0, -3.0, 0.5]]).double(), torch.tensor([[0.5, 0.0, 1.0]]).double())
    one = near(torch.ones(3, 1).double(), torch.zeros(3, 1).double())
    for result in (x @ one, x.sum(1)):
        assert result.value.item() == -0.5
        assert 1.5 < result.error.item() < 1.5 + 1e-14
    assert x.scaled(-4).error[0].tolist() == pytest.approx([2, 0, 4], abs=1e-14)
    assert (x + x).error.tolist()[0] == pytest.approx([1, 0, 2], abs=1e-14)
    passed = near(torch.full((1, 3), 7.0).double(), x.error).where_positive(x)
    # Surely through, surely stopped, and not known: then it may be anything up to its size.
    assert passed.value.tolist() == [[7, 0, 7]]
    assert passed.error.tolist() == [[0.5, 0, 9]]


@pytest.fixture
def alone(example: Example, halves: tuple) -> tuple[ModuleType, list, list]:
    """The parallel example, three batches, and the bounded losses on them."""
    parallel, bound = example("train_parallel"), example("parallel_bound")
    batches = list(parallel.batches(halves[0], 3))
    parameters = [parameter.detach() for parameter in parallel.network().parameters()]
    sizes = {"kernel": parallel.KERNEL, "stride": parallel.STRIDE, "rate": parallel.RATE}
    return parallel, batches, bound.bounded_losses(parameters, iter(batches), **sizes)


def test_one_process_is_within_the_bound(alone: tuple) -> None:
    parallel, batches, near = alone
    losses = parallel.train_alone(parallel.network(), iter(batches))
    for loss, bounded in zip(losses, near, strict=True):
        assert abs(loss - bounded.value.item()) <= bounded.error.item() < 1e-12
    for before, after in pairwise(near):
        assert before.error < after.error


def test_bound_sees_a_half_taken_twice(alone: tuple, capsys: pytest.CaptureFixture[str]) -> None:
    parallel, batches, near = alone
    one, other = (parallel.share(batch, rank, 2) for batch in batches[:1] for rank in (0, 1))
    assert torch.equal(torch.cat([one[0], other[0]]), batches[0][0])
    assert torch.equal(torch.cat([one[1], other[1]]), batches[0][1])
    losses = parallel.train_alone(parallel.network(), iter(batches))
    wrong = parallel.train_alone(
        parallel.network(), (parallel.share(batch, 0, 2) for batch in batches)
    )
    bounds = [2 * loss.error.item() for loss in near]
    assert parallel.compare(losses, losses, bounds).met
    assert not parallel.compare(losses, wrong, bounds).met
    # From the second step on, weights tell: a batch taken in another order is still the same.
    turned = [(images.flip(0), labels.flip(0)) for images, labels in batches]
    assert parallel.compare(losses, parallel.train_alone(parallel.network(), turned), bounds).met
    capsys.readouterr()


@pytest.mark.slow
def test_two_processes_train_as_one() -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = [EXAMPLES / "train_parallel.py", "--steps=2"]
    done = subprocess.run([*torchrun, *script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "reached  losses differ by" in done.stdout
    apart = float(done.stdout.split("of each half: ")[1].split()[0])
    assert apart > 1e-6  # what a batch normalisation would have done


def test_networks_are_drawn_alike(example: Example) -> None:
    parallel = example("train_parallel")
    one, other = parallel.network(), parallel.network()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in one.modules())
