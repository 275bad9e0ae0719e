"""Weights as all stages look at them: finite numbers of 32 or 64 bits."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .kernels import weight_arguments, weights
from .wire.arrays import AnyArray

Weights = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class TensorSource(Protocol):
    """A tensor of the checkpoint to be packed; `read` may be called more than once."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    def read(self) -> AnyArray: ...  # noqa: D102


# Weights as small as 1e-140 or as great as 1e140 have squares that float64 cannot sum up.
LEAST_ENERGY, GREATEST_ENERGY = 1e-280, 1e280


def widen(array: AnyArray) -> Weights:
    """Flat weights in the narrowest dtype the kernels take: float32, or float64 as it is."""
    flat = array.reshape(-1)
    return flat if flat.dtype == np.float64 else flat.astype(np.float32, copy=False)


def energy(array: AnyArray) -> float:
    """Sum of squares; 0 if the array holds NaN or infinity."""
    return counted_energy(weights.summarize(widen(array)))


def counted_energy(summary: weight_arguments.Summary) -> float:
    """What a tensor adds to the model's sum of squares; 0 if it holds NaN or infinity."""
    return summary.energy if math.isfinite(summary.energy) else 0.0


def shareable(summary: weight_arguments.Summary) -> bool:
    """Whether weights can be put on a grid, and errors far below theirs can be told from 0."""
    return summary.finite and LEAST_ENERGY <= summary.energy <= GREATEST_ENERGY


def prunable(summary: weight_arguments.Summary) -> bool:
    """Whether weights can be pruned: they can be shared, or are zero already."""
    return shareable(summary) or summary.minimum == summary.maximum == 0


def survives(summary: weight_arguments.Summary, cutoff: float) -> bool:
    """Whether any of the weights survives a cutoff."""
    greatest = max(abs(summary.minimum), abs(summary.maximum))
    return greatest > 0 and greatest >= cutoff
