"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variant by Google, 2020) for its checkpoint.

The modules' names are those of the checkpoint; strided convolutions are padded as in TensorFlow,
more at the end than at the start. Inputs are float32 (n, 3, 224, 224), (grey value - 127) / 128.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

# Repeats, kernel, stride, expansion, channels of the blocks' groups.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution whose output has the input's size over the stride, rounded up."""

    def forward(self, values: Tensor) -> Tensor:
        """Pad, then convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max(kernel - (size % stride or stride), 0) for size in values.shape[:1:-1]]
        before_and_after = [pad for m in missing for pad in (m // 2, m - m // 2)]
        return super().forward(functional.pad(values, before_and_after))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> SameConv:
    return SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False)


class Block(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        if expansion > 1:
            self._expand_conv = _conv(inputs, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, 1e-3)
        self._depthwise_conv = _conv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, 1e-3)
        self._project_conv = _conv(inner, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, 1e-3)
        self._expands = expansion > 1
        self._adds = stride == 1 and inputs == outputs

    def forward(self, values: Tensor) -> Tensor:
        """Return (n, outputs, height / stride, width / stride)."""
        inner = values
        if self._expands:
            inner = functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        projected: Tensor = self._bn2(self._project_conv(inner))
        return values + projected if self._adds else projected


class EfficientNetLite0(nn.Module):
    """4.65 million weights, 1000 classes of ImageNet."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _conv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, 1e-3)
        blocks: list[Block] = []
        inputs = 32
        for repeats, kernel, stride, expansion, outputs in _GROUPS:
            for number in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, 1 if number else stride, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _conv(inputs, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, 1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, 1000)."""
        values = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            values = block(values)
        values = functional.relu6(self._bn1(self._conv_head(values)))
        logits: Tensor = self._fc(values.mean((2, 3)))
        return logits


def load(path: Path) -> EfficientNetLite0:
    """Return the network with the weights of the checkpoint, ready to be evaluated."""
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()
