"""Inputs without data, and batches that are joined to one."""

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


def joined(batches: list[Any]) -> Any | None:
    """All batches as one; None where their samples differ in shape, or no tensors are in them."""
    first = batches[0] if batches else None
    if isinstance(first, Tensor):
        alike = all(batch.shape[1:] == first.shape[1:] for batch in batches)
        return torch.cat(batches) if alike and first.dim() > 0 else None
    if isinstance(first, Mapping):
        parts = {key: joined([batch[key] for batch in batches]) for key in first}
        return None if any(part is None for part in parts.values()) else parts
    if isinstance(first, tuple | list):
        found = [joined(list(column)) for column in zip(*batches, strict=True)]
        return None if any(part is None for part in found) else type(first)(found)
    return None
