"""Sharing by a uniform grid: one step for all weights, with rate-distortion rounding.

The grid's levels are the multiples of a step. A weight between two levels goes to the one with the
least squared error + slope x bits, where the bits are those of an ideal code for the weight's
class; levels then move to the mean of their weights, and so on (entropy-constrained scalar
quantization: Chou, Lookabaugh and Gray 1989; for networks Choi, El-Khamy and Lee 2016). One step
and one slope for a whole model spend its bits where they lower the model's error most.

All of it works on a histogram of 64 bins a step for each class, in integers but for a few exactly
rounded operations, so that every machine finds the same levels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dcz.codec import kernels
from dcz.codec.entropy import log2
from dcz.codec.errors import CorruptError, RecipeError
from dcz.codec.frame import AnyArray, SharedTensor
from dcz.codec.huffman import MAX_ALPHABET
from dcz.codec.prune import Weights
from dcz.codec.runs import MAX_CLASSES, Runs, find_runs
from dcz.codec.varint import Cursor, encode_varint

BINS_A_STEP = 64
MOST_BINS = 65536
ITERATIONS = 3
# At high rates the squared error falls by 2 ln 2 times itself a bit, and it is step**2 / 12.
SLOPE_FACTOR = 0.12
PARTS_OF_STEP = 64
MAX_CORRECTION = 63
CORRECTED = (1, 2, 4, 8)
MAX_LOWEST = 2**16

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GridBook:
    """A codebook of consecutive multiples of a step, the ones around zero corrected.

    Attributes
    ----------
    step : float
        Distance of neighbouring levels; a float32.
    lowest : int
        Entry 0 of the codebook is `lowest` steps.
    levels : int
        Number of entries.
    corrections : tuple of int
        Of the levels from -n to n, in 64ths of a step; an odd number of them, or none.
    """

    step: float
    lowest: int
    levels: int
    corrections: tuple[int, ...] = ()

    def values(self, dtype: np.dtype[Any]) -> AnyArray:
        """The codebook: whole 64ths of a step, rounded to float32 and to the dtype."""
        end = self.lowest + self.levels
        parts = np.arange(PARTS_OF_STEP * self.lowest, PARTS_OF_STEP * end, PARTS_OF_STEP)
        reach = len(self.corrections) // 2
        first, last = max(-reach, self.lowest), min(reach + 1, end)
        if self.corrections and first < last:
            corrected = self.corrections[first + reach : last + reach]
            parts[first - self.lowest : last - self.lowest] += corrected
        values = parts * (self.step / PARTS_OF_STEP)
        with np.errstate(over="ignore"):
            narrow = values.astype(dtype if dtype.itemsize > 4 else np.float32)
            return narrow.astype(dtype, copy=False)

    def encode(self) -> bytes:
        """The book as a frame holds it."""
        count = len(self.corrections)
        return (
            struct.pack("<f", self.step)
            + encode_varint(_zigzag(self.lowest))
            + encode_varint(self.levels)
            + struct.pack(f"<B{count}b", count, *self.corrections)
        )

    @classmethod
    def decode(cls, cursor: Cursor) -> GridBook:
        """Read what `encode` wrote. Raises CorruptError."""
        (step,) = struct.unpack("<f", cursor.take(4, "grid step"))
        if not 0 < step < np.inf:
            raise CorruptError(f"grid step: {step} is not positive and finite")
        zigzag = cursor.varint("grid lowest level", high=2 * MAX_LOWEST)
        levels = cursor.varint("grid levels", low=1, high=MAX_ALPHABET)
        count = cursor.byte("grid corrections")
        if count % 2 == 0 and count > 0:
            raise CorruptError(f"grid corrections: {count} is not odd")
        corrections = struct.unpack(f"<{count}b", cursor.take(count, "grid corrections"))
        return cls(step, zigzag >> 1 ^ -(zigzag & 1), levels, corrections)


@dataclass(frozen=True, slots=True)
class GridTensor(SharedTensor):
    """A tensor shared by a grid.

    Attributes
    ----------
    book : GridBook
        What the codebook consists of.
    runs : Runs
        The classes that its levels were chosen for.
    """

    book: GridBook
    runs: Runs


def quantize(
    values: Weights,
    shape: tuple[int, ...],
    step: float,
    slope_factor: float = SLOPE_FACTOR,
    dtype: np.dtype[Any] | None = None,
    most_classes: int = MAX_CLASSES,
) -> GridTensor:
    """Share weights by a grid.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
        Finite; pruned ones are zero, which stays zero.
    shape : tuple of int
        Of the tensor, for its rows and columns to be put into classes.
    step : float
        Distance of levels; rounded to float32.
    slope_factor : float
        What a bit may cost, in squared error over step**2; 0 minds the error alone.
    dtype : dtype or None
        Of the codebook; that of the values if None.
    most_classes : int
        How many classes the rows may be put into.

    Raises
    ------
    RecipeError
        If the grid would have more than 4,096 levels, or a step of no size.
    """
    step = float(np.float32(step))
    fine = _find_bins(values, step)
    runs = find_runs(fine.rounded, fine.levels, shape, most_classes)
    histograms = kernels.count_runs(fine.bins, runs.length, runs.groups, runs.count, fine.width)
    cuts = [_round_by_rate(h, fine.bins_a_step, slope_factor) for h in histograms]
    tables = np.array([np.repeat(np.arange(fine.levels), np.diff(cut)) for cut in cuts])
    used = [np.flatnonzero(np.diff(cut)) for cut in cuts]
    first, last = min(int(u[0]) for u in used), max(int(u[-1]) for u in used)
    tables = np.clip(tables - first, 0, last - first).astype(np.uint16)
    indices = kernels.map_runs(fine.bins, runs.length, runs.groups, tables)
    corrections = _corrections(fine, histograms, cuts, slope_factor)
    book = GridBook(step, fine.lowest + first, last - first + 1, corrections)
    return GridTensor(
        indices, book.values(np.dtype(dtype or values.dtype)), False, book=book, runs=runs
    )


@dataclass(frozen=True, slots=True)
class _FineBins:
    """Weights in bins of a fraction of a step: level k is around bins (k + 1/2) bins_a_step."""

    bins: kernels.Bins
    bins_a_step: int
    lowest: int
    levels: int
    rounded: AnyArray

    @property
    def width(self) -> int:
        return self.levels * self.bins_a_step


def _find_bins(values: Weights, step: float) -> _FineBins:
    summary = kernels.summarize(values)
    if not 0 < step < np.inf:
        raise RecipeError(f"a grid needs a positive step, not {step}")
    ends = np.array([summary.minimum, summary.maximum]) / step
    if not np.all(np.abs(ends) < MAX_LOWEST - 1):
        raise RecipeError(f"a grid of step {step} has too many levels")
    lowest, highest = (int(end) for end in np.floor(ends + 0.5))
    levels = highest - lowest + 1
    if levels > MAX_ALPHABET:
        raise RecipeError(f"a grid of step {step} has {levels} levels, over {MAX_ALPHABET}")
    bins_a_step = BINS_A_STEP
    while levels * bins_a_step > MOST_BINS:
        bins_a_step //= 2
    scale, low = bins_a_step / step, (lowest - 0.5) * bins_a_step
    bins = np.minimum(kernels.find_bins(values, scale, low), levels * bins_a_step - 1)
    table = np.repeat(np.arange(levels, dtype=np.uint16), bins_a_step)[None, :]
    one = np.zeros(1, np.uint32)
    rounded = kernels.map_runs(bins, max(bins.size, 1), one, table)
    return _FineBins(bins, bins_a_step, lowest, levels, rounded)


def _round_by_rate(histogram: Counts, bins_a_step: int, slope_factor: float) -> Counts:
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


def _all_levels(levels: Counts, edges: Counts, count: int) -> Counts:
    """Edges of all levels from those of the ones in use."""
    sizes = np.zeros(count, np.int64)
    sizes[levels] = np.diff(edges)
    return np.concatenate(([0], np.cumsum(sizes)))


def _corrections(
    fine: _FineBins, histograms: Counts, cuts: Sequence[Counts], slope_factor: float
) -> tuple[int, ...]:
    """What leads levels to the mean of their weights, for as many as pay for their bytes."""
    pairs = zip(histograms, cuts, strict=True)
    counts, moments = np.sum([_level_moments(h, cut) for h, cut in pairs], axis=0)
    middles = fine.bins_a_step * (2 * np.arange(fine.levels) + 1)
    shifts = (moments - counts * middles) / (2 * fine.bins_a_step * np.maximum(counts, 1))
    corrections = np.rint(np.clip(PARTS_OF_STEP * shifts, -MAX_CORRECTION, MAX_CORRECTION))
    gains = counts * (shifts**2 - (shifts - corrections / PARTS_OF_STEP) ** 2)
    by_level = {level: at for at, level in enumerate(range(fine.lowest, fine.lowest + fine.levels))}
    best: tuple[int, ...] = ()
    most = 0.0
    for reach in CORRECTED:
        reached = [by_level.get(level) for level in range(-reach, reach + 1)]
        reached[reach] = None  # zero stays zero
        gain = sum(float(gains[at]) for at in reached if at is not None)
        if gain - slope_factor * 8 * len(reached) > most:
            most = gain - slope_factor * 8 * len(reached)
            best = tuple(0 if at is None else int(corrections[at]) for at in reached)
    return best


def _level_moments(histogram: Counts, cut: Counts) -> Counts:
    """For each level how many weights it has, and the sum of twice their bins' middles."""
    positions = 2 * np.arange(histogram.size, dtype=np.int64) + 1
    sums = np.array([np.cumsum(histogram), np.cumsum(histogram * positions)])
    return np.diff(np.pad(sums, ((0, 0), (1, 0)))[:, cut], axis=1)


def _zigzag(number: int) -> int:
    return 2 * number if number >= 0 else -2 * number - 1
