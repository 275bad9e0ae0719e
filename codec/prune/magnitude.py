"""Magnitude pruning: which weights become zero (Deep Compression, section 2).

A tensor's cutoff is the smallest magnitude that survives; weights that are already zero never
survive. The cutoff of a sparsity is exact: a sample tells between which magnitudes it lies, and one
pass over all weights collects the few between them and counts the others (Floyd and Rivest 1975).
Where that fails it is found by radix selection, which needs no more memory however many weights
are alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..kernels import weights
from ..weights import Weights

_DIGIT_BITS = 16
_SAMPLED = 1 << 17
# A stride that shares no factor with the lengths of rows and kernels visits all their places.
_ROW_FACTORS = 2 * 3 * 5 * 7
# Weights to one that may be collected; of a sample's bracket about one in 60 is expected.
_ROOM = 16


def cutoff_for_sparsity(
    tensors: Callable[[], Iterable[Weights]], numel: int, sparsity: float, dtype: np.dtype[Any]
) -> float:
    """The cutoff that makes at most a share `sparsity` of all weights zero.

    Exactly floor(sparsity * numel) weights fall below it, unless several weights have the
    cutoff's very magnitude: those are kept, so that never more than asked is pruned.

    Parameters
    ----------
    tensors : callable
        Gives the flat weights, all of `dtype`; called several times.
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
    return cutoff_of_rank(tensors, numel, math.floor(sparsity * numel), dtype)


def cutoff_of_rank(
    tensors: Callable[[], Iterable[Weights]], numel: int, rank: int, dtype: np.dtype[Any]
) -> float:
    """The cutoff below which `rank` of `numel` weights fall; see `cutoff_for_sparsity`."""
    if rank == 0:
        return 0.0
    sample = _sample(tensors, numel)
    if sample.size == numel:
        return float(sample[rank])
    found = _select(tensors, numel, rank, _bracket(sample, rank / numel))
    return _by_digits(tensors, rank, dtype) if found is None else found


def _sample(tensors: Callable[[], Iterable[Weights]], numel: int) -> Weights:
    """Magnitudes of every so many-th weight, ascending; of all weights if they are few."""
    stride = max(numel // _SAMPLED, 1)
    while math.gcd(stride, _ROW_FACTORS) > 1:
        stride += 1
    sample = np.concatenate([np.abs(values[::stride]) for values in tensors()])
    return np.sort(sample)


def _bracket(sample: Weights, share: float) -> tuple[float, float]:
    """Magnitudes between which the cutoff lies if the sample is as good as a random one."""
    middle = int(share * sample.size)
    margin = math.isqrt(sample.size)
    low, high = middle - margin, middle + margin
    first = float(sample[low]) if low >= 0 else 0.0
    return first, float(sample[high]) if high < sample.size else math.inf


def _select(
    tensors: Callable[[], Iterable[Weights]],
    numel: int,
    rank: int,
    bracket: tuple[float, float],
) -> float | None:
    """The magnitude of a rank; None if it lies outside the bracket or too many lie in it."""
    room = numel // _ROOM
    below = inside = 0
    collected = []
    for values in tensors():
        fewer, count, found = weights.select_magnitudes(values, *bracket, max(room - inside, 0))
        below, inside = below + fewer, inside + count
        collected.append(found)
    if not below <= rank < below + inside:
        return None
    if bracket[0] == bracket[1]:
        return bracket[0]
    if inside > room:
        return None
    return float(np.partition(np.concatenate(collected), rank - below)[rank - below])


def _by_digits(tensors: Callable[[], Iterable[Weights]], rank: int, dtype: np.dtype[Any]) -> float:
    """The magnitude of a rank by radix selection over its bit pattern."""
    prefix = 0
    for shift in range(8 * dtype.itemsize - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts = np.zeros(1 << _DIGIT_BITS, np.int64)
        for values in tensors():
            counts += weights.count_magnitudes(values, shift, prefix)
        below = np.cumsum(counts)
        digit = int(np.searchsorted(below, rank, side="right"))
        rank -= int(below[digit - 1]) if digit else 0
        prefix = prefix << _DIGIT_BITS | digit
    return float(np.array([prefix], f"u{dtype.itemsize}").view(dtype)[0])
