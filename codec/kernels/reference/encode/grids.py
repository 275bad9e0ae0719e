"""Rounding to the levels of a grid and putting rows into classes, in NumPy: the reference.

Integers, but for a few exactly rounded operations, so that every machine finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....entropy import log2
from ...coding_arguments import CLASS_LIMIT, Bytes, Integers, Symbols, integer_array, require
from .runs import Bins, Groups, checked_groups, count_runs, map_runs, nearest_classes

MOST_BINS = 65536
ITERATIONS = 3
PARTS_OF_STEP = 64
MAX_CORRECTION = 63
CORRECTED = (1, 2, 4, 8)
RATE_UNIT = 256

Floats = npt.NDArray[np.float64]


class Rounded(NamedTuple):
    """Weights on a grid.

    Attributes
    ----------
    indices : uint8[n] or uint16[n]
        From the first level in use on.
    first, last : int
        Of the levels in use.
    corrections : tuple of int
        Of the levels from -n to n, in 64ths of a step; an odd number of them, or none.
    """

    indices: Symbols
    first: int
    last: int
    corrections: tuple[int, ...]


def round_grid(
    bins: Bins,
    length: int,
    groups: Groups,
    classes: int,
    shape: tuple[int, int],
    lowest: int,
    slope_factor: float,
) -> Rounded:
    """Round weights to levels so that squared error + slope x bits is least.

    Bits are those of an ideal code for the weight's class.

    Parameters
    ----------
    bins : uint16[n]
        Of the weights; level k is around bins (k + 1/2) bins_a_step.
    length, groups
        Of the runs, as `count_runs` takes them: the class of each.
    classes : int
        At most 16, each of at least one weight.
    shape : (levels, bins_a_step)
        At most 65,536 bins.
    lowest : int
        The first level is so many steps.
    slope_factor : float
        What a bit may cost, in squared error over step**2.

    Raises
    ------
    ValueError
        If the arguments do not fit together.
    """
    levels, bins_a_step = check_grid(shape, classes)
    width = levels * bins_a_step
    histograms = count_runs(bins, length, groups, classes, width)
    require(bool(np.all(np.any(histograms, axis=1))), "a class has no weight")
    cuts = [_round_by_rate(h, bins_a_step, slope_factor) for h in histograms]
    tables = np.array([np.repeat(np.arange(levels), np.diff(cut)) for cut in cuts])
    used = [np.flatnonzero(np.diff(cut)) for cut in cuts]
    first, last = min(int(u[0]) for u in used), max(int(u[-1]) for u in used)
    tables = np.clip(tables - first, 0, last - first).astype(np.uint16)
    indices = map_runs(bins, length, checked_groups(groups, bins.size, length, classes), tables)
    corrections = _corrections(histograms, cuts, lowest, slope_factor)
    return Rounded(indices, first, last, corrections)


def check_grid(shape: tuple[int, int], classes: int) -> tuple[int, int]:
    """Return levels and bins to a step; ValueError unless they and the classes are in range."""
    levels, bins_a_step = shape
    few = levels >= 1 and bins_a_step >= 1 and levels * bins_a_step <= MOST_BINS
    require(few, "a grid has 1 to 65536 bins")
    require(1 <= classes <= CLASS_LIMIT, "there are 1 to 16 classes")
    return levels, bins_a_step


def _round_by_rate(histogram: Integers, bins_a_step: int, slope_factor: float) -> Integers:
    """First bin of each level, and the end of the last, so that slope x bits + error is least.

    Empty levels begin and end at the same bin.
    """
    levels = np.arange(histogram.size // bins_a_step)
    reached = np.concatenate(([0], np.cumsum(histogram)))
    moments = np.concatenate(([0], np.cumsum(histogram * (2 * np.arange(histogram.size) + 1))))
    edges = bins_a_step * np.arange(levels.size + 1)
    price = slope_factor * bins_a_step * bins_a_step
    for _ in range(ITERATIONS):
        counts = np.diff(reached[edges])
        used = counts > 0
        levels, counts = levels[used], counts[used]
        means = np.diff(moments[edges])[used] / (2 * counts)
        rates = log2(float(reached[-1])) - log2(counts)
        middles = (means[:-1] + means[1:]) / 2
        shifts = price * (rates[1:] - rates[:-1]) / (2 * (means[1:] - means[:-1]))
        inner = np.maximum.accumulate(np.floor(middles + shifts + 0.5))
        inner = np.clip(inner, 0, histogram.size).astype(np.int64)
        edges = np.concatenate(([0], inner, [histogram.size]))
    return _all_levels(levels, edges, histogram.size // bins_a_step)


def _all_levels(levels: Integers, edges: Integers, count: int) -> Integers:
    """Edges of all levels from those of the ones in use."""
    sizes = np.zeros(count, np.int64)
    sizes[levels] = np.diff(edges)
    return np.concatenate(([0], np.cumsum(sizes)))


def _corrections(
    histograms: Integers, cuts: Sequence[Integers], lowest: int, slope_factor: float
) -> tuple[int, ...]:
    """What leads levels to the mean of their weights, for as many as pay for their bytes."""
    levels = cuts[0].size - 1
    bins_a_step = histograms.shape[1] // levels
    pairs = zip(histograms, cuts, strict=True)
    counts, moments = np.sum([_level_moments(h, cut) for h, cut in pairs], axis=0)
    middles = bins_a_step * (2 * np.arange(levels) + 1)
    shifts = (moments - counts * middles) / (2 * bins_a_step * np.maximum(counts, 1))
    corrections = np.rint(np.clip(PARTS_OF_STEP * shifts, -MAX_CORRECTION, MAX_CORRECTION))
    gains = counts * (shifts**2 - (shifts - corrections / PARTS_OF_STEP) ** 2)
    best: tuple[int, ...] = ()
    most = 0.0
    for reach in CORRECTED:
        places = [level - lowest for level in range(-reach, reach + 1)]
        reached = [at if 0 <= at < levels and at != -lowest else None for at in places]
        gain = sum(float(gains[at]) for at in reached if at is not None)
        if gain - slope_factor * 8 * len(reached) > most:
            most = gain - slope_factor * 8 * len(reached)
            best = tuple(0 if at is None else int(corrections[at]) for at in reached)
    return best


def _level_moments(histogram: Integers, cut: Integers) -> Integers:
    """For each level how many weights it has, and the sum of twice their bins' middles."""
    positions = 2 * np.arange(histogram.size, dtype=np.int64) + 1
    sums = np.array([np.cumsum(histogram), np.cumsum(histogram * positions)])
    return np.diff(np.pad(sums, ((0, 0), (1, 0)))[:, cut], axis=1)


def classify(
    counts: Integers, most: int, steps: int, costs: tuple[int, int], least: int
) -> tuple[Bytes, int] | None:
    """Put runs into classes whose codes suit them, as in k-means.

    The first classes are of equal size, by what the runs cost under one code for all.

    Parameters
    ----------
    counts : int64[runs, alphabet]
        How often each symbol occurs in each run.
    most : int
        Classes, at least 2 and at most 16; no more than there are runs.
    steps : int
        Of the search.
    costs : (int, int)
        What a class takes beside its symbols, in bits: by itself, and in the map of classes.
    least : int
        Bits that the classes have to stay below.

    Returns
    -------
    found : uint8[runs]
        The class of each run; all from 0 to the greatest are used.
    bits : int
        What the classes take.
    None where they do not stay below.

    Raises
    ------
    ValueError
        If the arguments do not fit together.
    """
    counts = check_counts(counts, most)
    cost = counts @ _rates(np.sum(counts, axis=0)[None, :])[0]
    order = np.argsort(cost, kind="stable")
    starts = np.arange(most) * len(counts) // most
    sums = np.add.reduceat(counts[order], starts, axis=0)
    found = np.zeros(len(counts), np.uint8)
    for _ in range(steps):
        found, sums = nearest_classes(counts, _rates(sums))
    used = np.any(sums > 0, axis=1)
    found, sums = (np.cumsum(used) - 1).astype(np.uint8)[found], sums[used]
    bits = coded_bits(sums, costs[0]) + coded_bits(np.bincount(found)[None, :], costs[1])
    return (found, bits) if bits < least and len(sums) > 1 else None


def check_counts(counts: Integers, most: int) -> Integers:
    """Return counts of runs as an array; ValueError unless they can be put into classes."""
    array = integer_array(counts)
    require(array.ndim == 2 and array.shape[1] > 0, "counts are int64[runs, alphabet]")
    require(2 <= most <= min(CLASS_LIMIT, len(array)), "there are 2 to 16 classes")
    return array


def coded_bits(counts: Integers, overhead: int) -> int:
    """About what symbols take with a code for each row of counts, each with an overhead."""
    return int(np.sum(counts * _rates(counts))) // RATE_UNIT + len(counts) * overhead


def _rates(counts: Integers) -> Integers:
    """Bits of each symbol in each class, in units of 1/256; integers, so that sums are exact."""
    smooth = 16 * counts + 1
    rates = log2(np.sum(smooth, axis=1, keepdims=True)) - log2(smooth)
    return np.rint(RATE_UNIT * rates).astype(np.int64)
