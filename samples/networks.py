"""The two networks of the Deep Compression paper (Han, Mao, Dally 2016, section 5.1).

Their tensors are named after the layers, each `.weight` and `.bias`; both networks take
rows of 784 pixels and return 10 logits. Dropout acts in training only and has no tensors. Narrower
ones, of other `widths`, are what is left of them when units are dropped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelsLast(nn.Conv2d):
    """A convolution with channels next to one another in memory: 1.6 times as fast on one core."""

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve; maps of any memory format become channels-last ones."""
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(maps, weight, self.bias, self.stride, self.padding)


class LeNet300100(nn.Module):
    """784-300-100-10 fully connected, ReLU between: 266,610 parameters, 1,066,440 bytes."""

    def __init__(
        self,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        widths: tuple[int, ...] = (300, 100),
    ) -> None:
        super().__init__()
        first, second = widths
        self.fc1 = nn.Linear(784, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, 10)
        self.dropout = dropout
        self.input_dropout = input_dropout

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (n, 10) of images (n, 784)."""
        seen = functional.dropout(pixels, self.input_dropout, self.training)
        hidden = torch.relu(self.fc1(seen))
        hidden = torch.relu(self.fc2(functional.dropout(hidden, self.dropout, self.training)))
        logits: Tensor = self.fc3(functional.dropout(hidden, self.dropout, self.training))
        return logits


class LeNet5(nn.Module):
    """Two 5x5 convolutions (20, 50 filters) with 2x2 max pooling and ReLU, then 800-500-10.

    431,080 parameters, 1,724,320 bytes.
    """

    def __init__(
        self,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        widths: tuple[int, ...] = (20, 50, 500),
    ) -> None:
        super().__init__()
        filters, more_filters, units = widths
        self.conv1 = ChannelsLast(1, filters, 5)
        self.conv2 = ChannelsLast(filters, more_filters, 5)
        self.fc1 = nn.Linear(16 * more_filters, units)
        self.fc2 = nn.Linear(units, 10)
        self.dropout = dropout
        self.input_dropout = input_dropout

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (n, 10) of images (n, 784)."""
        seen = functional.dropout(pixels, self.input_dropout, self.training)
        maps = seen.reshape(-1, 28, 28, 1).permute(0, 3, 1, 2)
        maps = torch.relu(functional.max_pool2d(self.conv1(maps), 2))
        maps = torch.relu(functional.max_pool2d(self.conv2(maps), 2))
        hidden = torch.relu(self.fc1(maps.flatten(1)))
        logits: Tensor = self.fc2(functional.dropout(hidden, self.dropout, self.training))
        return logits


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "lenet-300-100": LeNet300100,
    "lenet5": LeNet5,
}
