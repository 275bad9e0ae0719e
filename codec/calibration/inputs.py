"""Inputs without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def alike(example: Any, count: int, seed: int) -> list[Any]:
    """Random batches in the likeness of an example: tensors, tuples, lists or mappings."""
    draw = torch.Generator().manual_seed(seed)
    return [_alike(example, draw) for _ in range(count)]


def _alike(value: Any, draw: torch.Generator) -> Any:
    if isinstance(value, Mapping):
        return {key: _alike(item, draw) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_alike(item, draw) for item in value)
    return _random(value, draw) if isinstance(value, Tensor) else value


def _random(example: Tensor, draw: torch.Generator) -> Tensor:
    if example.dtype == torch.bool or example.numel() == 0:
        return example
    if example.is_floating_point():
        noise = torch.randn(example.shape, generator=draw)
        spread = example.float().std(correction=0)
        return (noise * spread.cpu() + example.float().mean().cpu()).to(example)
    low, high = int(example.min()), int(example.max())
    return torch.randint(low, high + 1, example.shape, generator=draw).to(example)
