"""What is pruned together: single weights, or whole rows, columns, filters, channels, kernels."""

from __future__ import annotations

import torch
from torch import Tensor

# Dimensions whose every combination is one unit; the others are pruned together.
UNITS: dict[str, tuple[int, ...] | None] = {
    "weight": None,
    "row": (0,),
    "column": (1,),
    "filter": (0,),
    "channel": (1,),
    "kernel": (0, 1),
}


def unit_scores(scores: Tensor, unit: str) -> Tensor:
    """Scores of the units, in a tensor that broadcasts against the weights.

    A unit scores the root mean square of its weights' scores, so that units of different sizes
    compare. A tensor without the dimensions that the unit needs, such as a bias, is taken as rows.
    """
    kept = _kept(scores, unit)
    others = tuple(d for d in range(scores.ndim) if d not in kept)
    return scores.square().mean(others, keepdim=True).sqrt() if others else scores


def unit_size(weight: Tensor, unit: str) -> int:
    """Weights of one unit."""
    size = weight.numel()
    for dimension in _kept(weight, unit):
        size //= max(weight.shape[dimension], 1)
    return size


def _kept(weight: Tensor, unit: str) -> tuple[int, ...]:
    kept = UNITS[unit]
    if kept is None:
        return tuple(range(weight.ndim))
    return kept if max(kept) < weight.ndim else (0,)


def lowest(scores: list[Tensor], sizes: list[int], target: int) -> list[Tensor]:
    """Choose the units of the lowest scores until they hold `target` weights, or just below it.

    Parameters
    ----------
    scores : list of float tensors
        Of the units of each tensor; -inf for those that are pruned already.
    sizes : list of int
        Weights of one unit of each tensor.
    target : int
        Weights to prune over all tensors.

    Returns
    -------
    list of bool tensors
        Of the shape of `scores`: whether the unit is pruned.
    """
    flat = torch.cat([score.detach().double().reshape(-1) for score in scores])
    counts = torch.tensor([score.numel() for score in scores], device=flat.device)
    weights = torch.tensor(sizes, device=flat.device).repeat_interleave(counts)
    order = flat.argsort(stable=True)
    chosen = order[weights[order].cumsum(0) <= target]
    pruned = torch.zeros(flat.numel(), dtype=torch.bool, device=flat.device)
    pruned[chosen] = True
    parts = pruned.split([score.numel() for score in scores])  # type: ignore[no-untyped-call]
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]
