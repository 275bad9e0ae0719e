"""efficientnet-lite0 as a PyTorch module, and crops of photographs to feed it.

The module's parameters carry the checkpoint's names, so that calibration and checkpoint match.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from checkpoints import fetch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 224
# Kernel, stride, expansion, channels and repetitions of each stage (Tan and Le 2019, lite).
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Photographs by the package that they ship with. No two of a motif are on both sides.
CALIBRATION = (
    "sklearn/datasets/images/china.jpg",
    "skimage/data/motorcycle_left.png",
    "skimage/data/coffee.png",
    "skimage/data/retina.jpg",
    "skimage/data/grass.png",
    "skimage/data/coins.png",
    "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
)
VALIDATION = ("skimage/data/rocket.jpg", "skimage/data/hubble_deep_field.jpg")
TEST = (
    "sklearn/datasets/images/flower.jpg",
    "skimage/data/chelsea.png",
    "skimage/data/astronaut.png",
    "skimage/data/camera.png",
)


class Same(nn.Conv2d):
    """A convolution whose output is as large as its input over the stride, as in TensorFlow."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad as TensorFlow does: the odd one at the end."""
        return super().forward(functional.pad(x, self.margin()))

    def margin(self) -> tuple[int, int, int, int]:
        """Padding for inputs of even sides."""
        size, stride = self.kernel_size[0], self.stride[0]
        total = size - stride if size > stride else 0
        return (total // 2, total - total // 2) * 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Expand, filter by channels, project; the input is added where it fits."""

    def __init__(self, size: int, stride: int, expansion: int, before: int, after: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and before == after
        if self.expands:
            self._expand_conv = nn.Conv2d(before, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = Same(inner, inner, size, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, after, 1, bias=False)
        self._bn2 = _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        """float32[images, channels, rows, columns]."""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNet(nn.Module):
    """The network; gives logits of the 1,000 classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = Same(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, before = [], 32
        for size, stride, expansion, after, count in STAGES:
            for number in range(count):
                blocks.append(Block(size, 1 if number else stride, expansion, before, after))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(before, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """float32[images, 3, 224, 224] to float32[images, 1000]."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


def load_model(state: dict[str, Tensor] | None = None) -> EfficientNet:
    """The model with its own weights, or with others under the checkpoint's names."""
    if state is None:
        state = torch.load(fetch("efficientnet-lite0"), weights_only=True)
    model = EfficientNet().eval()
    model.load_state_dict(state)
    return model


def crops(photographs: Sequence[str], count: int, seed: int = 0, batch: int = 8) -> list[Tensor]:
    """Batches of random crops of photographs, mirrored every other time, as the network wants them.

    A crop has between a third and all of the photograph's shorter side.
    """
    images = [_load(name) for name in photographs]
    draw = random.Random(seed)
    found = [_crop(images[number % len(images)], draw) for number in range(count)]
    return list(torch.stack(found).split(batch))


def _load(name: str) -> Tensor:
    from importlib.util import find_spec

    from PIL import Image

    package, _, rest = name.partition("/")
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    image = Image.open(Path(spec.submodule_search_locations[0]) / rest).convert("RGB")
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
    return (torch.from_numpy(pixels) - 127) / 128


def _crop(image: Tensor, draw: random.Random) -> Tensor:
    height, width = image.shape[1:]
    side = int(min(height, width) * draw.uniform(0.4, 1.0))
    top, left = draw.randint(0, height - side), draw.randint(0, width - side)
    part = image[None, :, top : top + side, left : left + side]
    part = functional.interpolate(part, (SIDE, SIDE), mode="bicubic", antialias=True)[0]
    return part.flip(2) if draw.random() < 0.5 else part


def main() -> None:
    """Show the classes that photographs are taken for."""
    model = load_model()
    with torch.no_grad():
        for name in (*CALIBRATION, *VALIDATION, *TEST):
            logits = model(crops([name], 4)[0])
            top = logits.softmax(1).max(1)
            print(name, top.indices.tolist(), [round(p, 2) for p in top.values.tolist()])


if __name__ == "__main__":
    main()
