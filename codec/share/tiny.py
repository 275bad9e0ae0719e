"""Tiny tensors: many of them on grids at once, to be coded by mixed contexts in one frame.

A frame of its own costs a tensor of a few weights more than they do, in bytes and in time, and a
codebook of its own takes as much as they do. On plain multiples of a step, one byte tells the next
tensor's step if it is the same; and while contexts are mixed slowly, a few hundred weights are
decoded before a frame would have been opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import weights
from ..kernels import levels
from ..kernels.reference.encode import tiny
from ..tensor_plan import TensorPlan
from ..weights import TensorSource
from ..wire import trellis_states
from ..wire.arrays import AnyArray, is_floating
from . import uniform

# Steps whose halves are normal numbers of float32.
LEAST_STEP, GREATEST_STEP = 2.0**-120, 2.0**120

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TinyTensor:
    """A tensor of multiples of a step.

    Attributes
    ----------
    positions : int32[numel]
        Of each weight, in half steps; even.
    step : float
        Half a step, a float32.
    dtype : dtype
        Of the tensor.
    values : array[numel]
        What is decoded.
    squared_error, energy : float
        Sums of (w - w')**2 and of w**2.
    """

    positions: tiny.Positions
    step: float
    dtype: np.dtype[Any]
    values: AnyArray
    squared_error: float
    energy: float


def suits(tensor: TensorSource, plan: TensorPlan, numel: int) -> bool:
    """Whether a tensor of so many elements is one of those that `quantize` takes."""
    if not 0 < numel <= tiny.TINY or plan.quantizer != "grid" or plan.coder != "auto":
        return False
    if plan.metric is None or not plan.metric.is_flat or plan.outlying < np.inf:
        return False
    floating = is_floating(tensor.dtype) and tensor.dtype.itemsize > 1
    return floating and plan.slope is not None and not plan.cutoff


def quantize(arrays: Sequence[AnyArray], steps: Sequence[float]) -> list[TinyTensor | None]:
    """Put tensors on grids.

    Parameters
    ----------
    arrays : sequence of array
        Flat, of one dtype, with 1 to `kernels.TINY` elements each.
    steps : sequence of float
        Of each, a float32.

    Returns
    -------
    list of TinyTensor or None
        None for tensors that should stay as they are, or cannot be on such a grid.
    """
    dtype = arrays[0].dtype
    sizes = np.array([array.size for array in arrays])
    ends = np.cumsum(sizes)
    values = weights.widen(np.concatenate(arrays))
    wide = values.astype(np.float64)
    energies = _sums(wide, ends)
    apart = np.array(steps)
    usable = (energies >= weights.LEAST_ENERGY) & (energies <= weights.GREATEST_ENERGY)
    usable &= (apart >= LEAST_STEP) & (apart <= GREATEST_STEP)
    left_out = (~usable).astype(np.uint8)
    positions = levels.round_tiny(values, ends, apart, uniform.SLOPE_FACTOR, left_out)
    decoded = trellis_states.values_at(positions, np.repeat(apart / 2, sizes), dtype)
    errors = _sums(wide - decoded.astype(np.float64), ends)
    halves, kept = (apart / 2).tolist(), (left_out == 0) & np.isfinite(errors)
    parts = zip(kept.tolist(), halves, errors.tolist(), energies.tolist(), strict=True)
    starts = [0, *ends.tolist()]
    return [
        TinyTensor(positions[i:j], half, dtype, decoded[i:j], error, energy) if keep else None
        for i, j, (keep, half, error, energy) in zip(starts, starts[1:], parts, strict=False)
    ]


def _sums(terms: Floats, ends: npt.NDArray[np.int64]) -> Floats:
    """Sums of squares of each tensor, added up from its first to its last element.

    One tensor's are not to depend on what stands beside it: so the columns of a table are added.
    """
    starts = np.concatenate(([0], ends[:-1]))
    sizes = ends - starts
    table = np.zeros((tiny.TINY, ends.size))
    column = np.repeat(np.arange(ends.size), sizes)
    row = np.arange(terms.size) - np.repeat(starts, sizes)
    with np.errstate(all="ignore"):
        table[row, column] = terms * terms
        # Not reduced: that may add in pairs.
        sums: Floats = np.add.accumulate(table[: int(sizes.max())], axis=0)[-1]
    return sums
