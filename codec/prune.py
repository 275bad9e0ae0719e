"""Magnitude pruning: which weights become zero (Deep Compression, section 2).

A tensor's cutoff is the smallest magnitude that survives; weights that are already zero never
survive. The cutoff of a sparsity is exact: it is found by radix selection over the bit patterns
of the magnitudes, with no sorting and no copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from dcz.codec import kernels

Weights = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_DIGIT_BITS = 16


def cutoff_for_sparsity(
    tensors: Callable[[], Iterable[Weights]], numel: int, sparsity: float, dtype: np.dtype[Any]
) -> float:
    """The cutoff that makes at most a share `sparsity` of all weights zero.

    Exactly floor(sparsity * numel) weights fall below it, unless several weights have the
    cutoff's very magnitude: those are kept, so that never more than asked is pruned.

    Parameters
    ----------
    tensors : callable
        Gives the flat weights, all of `dtype`; called once for each 16 bits of their width.
    numel : int
        Number of weights in all.
    sparsity : float
        0 <= sparsity < 1.
    dtype : float32 or float64

    Returns
    -------
    float
        The smallest magnitude that survives; 0.0 if nothing is pruned.
    """
    rank = math.floor(sparsity * numel)
    if rank == 0:
        return 0.0
    prefix = 0
    for shift in range(8 * dtype.itemsize - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts = np.zeros(1 << _DIGIT_BITS, np.int64)
        for values in tensors():
            counts += kernels.count_magnitudes(values, shift, prefix)
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, rank, side="right"))
        rank -= int(below[digit - 1]) if digit else 0
        prefix = prefix << _DIGIT_BITS | digit
    return float(np.array([prefix], f"u{dtype.itemsize}").view(dtype)[0])
