"""Positions as turns of pairs of numbers (Su et al. 2021), as language models have them."""

from __future__ import annotations

import torch
from torch import Tensor

Turns = tuple[Tensor, Tensor]


def turns(tokens: int, width: int, base: float) -> Turns:
    """Cosines and sines of the angles that pairs are turned by: float32 (tokens, width)."""
    frequencies = base ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(tokens)[:, None] * frequencies
    twice = torch.cat([angles, angles], 1)
    return twice.cos(), twice.sin()


def turned(x: Tensor, by: Turns) -> Tensor:
    """Turn pairs whose numbers stand half the width apart: float32 (..., tokens, width)."""
    first, second = x.chunk(2, -1)
    return x * by[0] + torch.cat([-second, first], -1) * by[1]
