"""What `onebyone optimize` is claimed to reach on each architecture of `models.py`, as values.

A claim is met by numbers alone: MACs before and after, what is left of each operator, the ratios of
times. Those of MACs that are counted (`remaining`) come from the PyTorch side, never from a report
of the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

__all__ = ["CLAIMS", "Claim"]


@dataclass(frozen=True)
class Claim:
    """What is claimed for one row.

    Args:
        text: as printed.
        share, macs: the least fraction and the least number of MACs that are saved.
        remaining: gives the most MACs that may be left, where these are counted independently.
        operators: how many nodes of an operator may be left at most.
        onnxruntime, openvino: the least ratio of the original's time to the optimised one's; None
            where no time is claimed.
        faster: the ratio has to be more than that, not equal.
        either: it is enough if one engine keeps its ratio.
        proportion: the least part of the saved share of MACs that has to be saved in time too.
        seconds: the most that the tool itself takes; its memory is claimed with it.
    """

    text: str
    share: float = 0.0
    macs: int = 0
    remaining: Callable[[], int] | None = None
    operators: Mapping[str, int] = field(default_factory=dict)
    onnxruntime: float | None = None
    openvino: float | None = None
    faster: bool = False
    either: bool = False
    proportion: float | None = None
    seconds: float | None = None

    def met(self, before: int, after: int) -> bool:
        """Whether MACs `before` and `after` keep the claim; a share to a tenth of a percent.

        >>> Claim("a quarter", share=0.25).met(400, 300), Claim("all 150", macs=150).met(400, 300)
        (True, False)
        >>> Claim("no more", share=0).met(100_000, 100_001)
        False
        >>> Claim("90 left", remaining=lambda: 90).met(100, 91)
        False
        """
        most = after if self.remaining is None else self.remaining()
        enough = round(1 - after / before, 3) >= self.share and before - after >= self.macs
        return enough and after <= most

    def operators_met(self, left: Mapping[str, int]) -> bool:
        """Whether no more nodes than claimed are left of each operator.

        >>> Claim("", operators={"Conv": 22}).operators_met({"Conv": 22, "Relu": 30})
        True
        """
        return all(left.get(operator, 0) <= most for operator, most in self.operators.items())

    def times_met(self, ratios: Mapping[str, float], saved: float = 0.0) -> dict[str, bool | None]:
        """Whether each engine's ratio keeps the claim; None: nothing is claimed, or no more.

        Args:
            ratios: by engine, "onnxruntime" and "openvino".
            saved: the share of MACs that was saved.

        >>> Claim("", onnxruntime=1.2).times_met({"onnxruntime": 1.1, "openvino": 1.1})
        {'onnxruntime': False, 'openvino': None}
        >>> both = Claim("", onnxruntime=1.0, openvino=1.0, faster=True, either=True)
        >>> both.times_met({"onnxruntime": 1.1, "openvino": 0.9})
        {'onnxruntime': True, 'openvino': None}
        >>> Claim("", proportion=0.5).times_met({"openvino": 1.5}, saved=0.5)  # 1 / (1 - 0.25)
        {'openvino': True}
        """
        found = {engine: self._time_met(engine, r, saved) for engine, r in ratios.items()}
        if self.either and True in found.values():
            return {engine: met or None for engine, met in found.items()}
        return found

    def _time_met(self, engine: str, ratio: float, saved: float) -> bool | None:
        least = {"onnxruntime": self.onnxruntime, "openvino": self.openvino}[engine]
        if self.proportion is not None:
            least = 1 / (1 - self.proportion * saved)
        if least is None:
            return None
        return ratio > least if self.faster else ratio >= least

    @property
    def time(self) -> str:
        """What is claimed of the time, in words."""
        if self.proportion is not None:
            return f"{self.proportion:.0%} of the share of MACs"
        least = {"onnxruntime": self.onnxruntime, "openvino": self.openvino}
        sign = ">" if self.faster else "≥"
        words = [f"{engine} {sign} {r}×" for engine, r in least.items() if r is not None]
        return (" or " if self.either else ", ").join(words)


def _pruned() -> int:
    from branches import remaining_macs
    from models import ARCHITECTURES, network

    from onebyone.cost.profile import DEFAULT

    row = ARCHITECTURES["resnet50-pruned"]
    return remaining_macs(network(row), row.inputs["image"], DEFAULT.channels)


_NOTHING = Claim("0", onnxruntime=0.98, openvino=0.98)
_FASTER = Claim("", onnxruntime=1.0, openvino=1.0, faster=True)

# 12 layers × (query, key, value) × (A and B), each 384×16, on 196 patches and the class token.
_LORA_MACS = 12 * 3 * 2 * 197 * 384 * 16


def _last_block(tokens: int, width: int, hidden: int) -> int:
    """What all tokens but one cost in a transformer's last block, of which one token is read.

    Its query and its projection, two layers of the MLP, and its row of scores, which are products
    of the width of all heads and weigh the values. Keys and values are needed of all.
    """
    return (tokens - 1) * (2 * width * width + 2 * width * hidden + 2 * tokens * width)


# Four branches of 512 channels meet the 512 of the fuse on 60×60 positions; g×g would do.
_PYRAMID_UPSAMPLED = 512 * 512 * sum(60 * 60 - g * g for g in (1, 2, 3, 6))

# The two upsampled maps meet both 1×1s of a C3: 256→2·128 at 40×40 and 128→2·64 at 80×80.
_NECK_UPSAMPLED = 256 * 256 * 40 * 40 + 128 * 128 * 80 * 80

# In a YOLO of size n the C2f's 1×1s read 256 upsampled channels at 40×40 and 128 at 80×80; YOLO11's
# last one of the two makes as many channels as YOLOv8's.
_YOLO_UPSAMPLED = 256 * 128 * 40 * 40 + 128 * 64 * 80 * 80
_YOLO = Claim(
    "upsampled part's 1×1 at a quarter",
    macs=_YOLO_UPSAMPLED * 3 // 4,
    onnxruntime=1.05,
    openvino=0.98,
)

# A shuffle is a Reshape, a Transpose and a Reshape; as one operator it would be a Gather.
_NO_SHUFFLE = {"Transpose": 0, "Gather": 0}

CLAIMS = {
    "segformer-b0": Claim("51%", 0.51, onnxruntime=1.7, openvino=1.7),
    "segformer-b2": Claim("62%", 0.62, onnxruntime=2.2, openvino=2.2),
    "segformer-b5": Claim("34.7%", 0.347, seconds=40.0),
    "densenet121": replace(_FASTER, text="8.2%", share=0.082, seconds=10.0),
    "hrnet-w18": replace(_FASTER, text="5.6%", share=0.056),
    "pspnet": replace(_FASTER, text="9%", share=0.09),
    "pspnet-dilated": Claim("upsampled half of the fuse (3.7%)", macs=_PYRAMID_UPSAMPLED),
    "yolo-neck": Claim("upsampled part's 1×1 at a quarter", macs=_NECK_UPSAMPLED * 3 // 4),
    "lora-vit": Claim(
        "all LoRA MACs, and the last block but for one token",
        macs=_LORA_MACS + _last_block(197, 384, 1536),
    ),
    "deit-small": Claim("the last block but for one token", macs=_last_block(198, 384, 1536)),
    "chain-64-128-64": Claim("4× to 1×", 0.75),
    "mobilenetv2": _NOTHING,
    "resnet50": _NOTHING,
    "resnet50-v1": Claim("9.7%", 0.097, onnxruntime=1.05),
    "mobileone-s0": Claim("73%", 0.73, onnxruntime=2.0),
    "repvgg-a0": Claim("10%, 22 Convs left", 0.1, operators={"Conv": 22}, onnxruntime=1.2),
    # Depthwise branches become one each; where a block strides, its first 1×1 is read past a 1×1.
    "repvit-m1": replace(_FASTER, text="4%", share=0.04),
    "shufflenetv2": replace(_FASTER, text="no shuffle left", operators=_NO_SHUFFLE, either=True),
    "unet-mobilenetv2": Claim("32%", 0.32, onnxruntime=1.2, openvino=1.2),
    "unet-resnet50": Claim("12.5%", 0.125, onnxruntime=1.07, openvino=1.07),
    "unet++-resnet50": Claim("23%", 0.23, onnxruntime=1.12, openvino=1.12),
    "vae-decoder": Claim("15%", 0.15, onnxruntime=1.1, openvino=1.1),
    "esrgan-tail": Claim("25%", 0.25, onnxruntime=1.1, openvino=1.1),
    "yolov8n": _YOLO,
    "yolo11n": _YOLO,
    "rt-detr": replace(_FASTER, text="4%", share=0.04),
    "d-fine": replace(_FASTER, text="4.5%", share=0.045),
    "keras-resnet50": Claim("9%", 0.09, onnxruntime=1.25, openvino=0.98),
    # An unchanged file against itself measures 0.98 to 1.02.
    "googlenet": _NOTHING,
    "dgcnn": Claim("60%", 0.6, onnxruntime=1.6, openvino=1.2),
    "resnet50-pruned": Claim(
        "all that the zeroes allow, widths in fours", remaining=_pruned, proportion=0.75
    ),
}
