"""The two networks of EasyOCR: CRAFT, which finds text, and english_g2, which reads lines of it.

Both are written as functions of the checkpoint's tensors, whose names carry the prefix `module.`.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]
# Numbers of VGG16-BN's convolutions in the slices of CRAFT (Baek et al. 2019), and what stands
# before each: 0 nothing, 1 a rectifier, 2 a rectifier and a halving of the image.
_SLICES = (
    ((0, 0), (3, 1), (7, 2), (10, 1)),
    ((14, 2), (17, 1)),
    ((20, 1), (24, 2), (27, 1)),
    ((30, 1), (34, 2), (37, 1)),
)
_LINE_HEIGHT, _LINE_WIDTH = 64, 400


def find_text(state: State, images: Tensor) -> Tensor:
    """CRAFT: images (n, 3, height, width) to maps of characters and links, (n, 2, half, half)."""
    net = _without_prefix(state)
    levels, x = [], images
    for number, plan in enumerate(_SLICES, 1):
        for convolution, before in plan:
            x = functional.relu(x) if before else x
            x = functional.max_pool2d(x, 2) if before == 2 else x
            x = _convolved_and_normalised(net, f"basenet.slice{number}", convolution, x)
        levels.append(x)
    x = functional.max_pool2d(x, 3, 1, 1)
    x = _convolved(net, "basenet.slice5.1", x, 6, 6)
    x = torch.cat([_convolved(net, "basenet.slice5.2", x), levels.pop()], 1)
    for number in range(1, 5):
        x = functional.relu(_convolved_and_normalised(net, f"upconv{number}.conv", 0, x))
        x = functional.relu(_convolved_and_normalised(net, f"upconv{number}.conv", 3, x))
        if levels:
            finer = levels.pop()
            x = functional.interpolate(x, finer.shape[2:], mode="bilinear", align_corners=False)
            x = torch.cat([x, finer], 1)
    for number in (0, 2, 4, 6):
        x = functional.relu(_convolved(net, f"conv_cls.{number}", x))
    return _convolved(net, "conv_cls.8", x)


def read_lines(state: State, lines: Tensor) -> Tensor:
    """Logits of 97 characters: grey lines (n, 1, 64, width), from -1 to 1, to (n, places, 97)."""
    net = _without_prefix(state)
    x = lines
    for number, pool in ((0, (2, 2)), (3, (2, 2)), (6, None), (8, (2, 1))):
        x = functional.relu(_convolved(net, f"FeatureExtraction.ConvNet.{number}", x))
        x = functional.max_pool2d(x, pool) if pool else x
    for number in (11, 14):
        x = functional.relu(_convolved_and_normalised(net, "FeatureExtraction.ConvNet", number, x))
    x = functional.max_pool2d(x, (2, 1))
    last = "FeatureExtraction.ConvNet.18"
    x = functional.relu(functional.conv2d(x, net[f"{last}.weight"], net[f"{last}.bias"]))
    x = x.mean(2).transpose(1, 2)
    for number in range(2):
        x = _both_ways(_below(f"SequenceModeling.{number}.", net), x)
    return functional.linear(x, net["Prediction.weight"], net["Prediction.bias"])


def drawn_lines(texts: list[str]) -> Tensor:
    """The texts as grey images with some noise, float32 (n, 1, 64, 400), from -1 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    generator, draw = np.random.default_rng(3), random.Random(3)
    lines = []
    for text in texts:
        image = Image.new("L", (_LINE_WIDTH, _LINE_HEIGHT), 235)
        font = ImageFont.load_default(draw.uniform(30, 44))
        ImageDraw.Draw(image).text((8, draw.uniform(2, 8)), text, draw.randrange(100), font)
        noise = generator.normal(0, draw.uniform(2, 20), (_LINE_HEIGHT, _LINE_WIDTH))
        lines.append(np.clip(np.asarray(image) + noise, 0, 255) / 127.5 - 1)
    return torch.from_numpy(np.stack(lines).astype(np.float32))[:, None]


def _without_prefix(state: State) -> State:
    return _below("module.", state)


def _below(prefix: str, state: State) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _convolved(
    net: State, name: str, x: Tensor, padding: int | None = None, step: int = 1
) -> Tensor:
    """A convolution that keeps the size; `step` is between the filter's own weights."""
    weight = net[f"{name}.weight"]
    around = weight.shape[2] // 2 if padding is None else padding
    return functional.conv2d(x, weight, net.get(f"{name}.bias"), padding=around, dilation=step)


def _convolved_and_normalised(net: State, prefix: str, number: int, x: Tensor) -> Tensor:
    """A convolution and the batch normalization after it, numbered one higher."""
    norm = f"{prefix}.{number + 1}"
    mean, variance, weight, bias = (
        net[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    convolved = _convolved(net, f"{prefix}.{number}", x)
    return functional.batch_norm(convolved, mean, variance, weight, bias)


def _both_ways(net: State, x: Tensor) -> Tensor:
    lstm = nn.LSTM(256, 256, batch_first=True, bidirectional=True)
    lstm.load_state_dict(_below("rnn.", net))
    mixed, _ = lstm(x)
    return functional.linear(mixed, net["linear.weight"], net["linear.bias"])
