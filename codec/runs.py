"""Runs and their classes: which rows, or columns of kernels, of a tensor share a code table.

Rows of a weight matrix differ in scale, and so do the input channels of a convolution. A tensor is
cut into runs of equal length; the classes of the first runs are given, and repeat from there on.
So one list of classes describes rows (runs of a row's length, as many classes as rows) as well as
columns (runs of a kernel's length, as many classes as columns).

The classes are found as in k-means, with code lengths for distances: each run joins the class
whose code makes it shortest, each class takes the code that suits its runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcz.codec import kernels
from dcz.codec.entropy import log2
from dcz.codec.frame import AnyArray

MAX_LENGTH = 2**18
MAX_PERIOD = 2**18
MAX_CLASSES = kernels.CLASS_LIMIT
CANDIDATES = (3, 8)
STEPS = 6
# Classes are told apart by counts of so many symbols at most; finer ones would add little.
COARSE_ALPHABET = 64
FEWEST_ELEMENTS = 4096
RATE_UNIT = 256
# Rough size of a class beside its symbols, in bits: per table, and per segment.
TABLE_BITS = 250
SEGMENT_BITS = 160

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """How a tensor is cut into runs, and their classes.

    Attributes
    ----------
    length : int
        Elements of a run, 1 to 2**18; the last run of the tensor may be shorter.
    classes : uint8[period]
        Run i is in class ``classes[i % period]``; all classes from 0 to the greatest are used.
    """

    length: int
    classes: npt.NDArray[np.uint8]

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.classes.max()) + 1

    @property
    def runs_in_block(self) -> int:
        """Runs that are coded together."""
        return max(MAX_LENGTH // self.length, 1)

    @property
    def groups(self) -> npt.NDArray[np.uint32]:
        """The classes as the kernels take them."""
        return self.classes.astype(np.uint32)

    def classes_of(self, first: int, last: int) -> npt.NDArray[np.uint8]:
        """Classes of the runs from `first` to before `last`."""
        return self.classes[np.arange(first, last) % self.classes.size]


WHOLE = Runs(MAX_LENGTH, np.zeros(1, np.uint8))


def layouts(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Run lengths and periods to try for a tensor: its rows, and its columns of kernels."""
    numel = math.prod(shape)
    if len(shape) < 2 or numel < FEWEST_ELEMENTS:
        return
    kernel = math.prod(shape[2:])
    for length, period in ((numel // shape[0], shape[0]), (kernel, shape[1])):
        if 1 < length <= MAX_LENGTH and 1 < period <= MAX_PERIOD:
            yield length, period


def find_runs(symbols: AnyArray, alphabet: int, shape: tuple[int, ...]) -> Runs:
    """The runs and classes under which the symbols of a tensor are coded shortest.

    Parameters
    ----------
    symbols : uint8[numel] or uint16[numel]
        Neighbouring values stand for neighbouring weights.
    alphabet : int
        Number of different symbols.
    shape : tuple of int
        Of the tensor.
    """
    shift = max((alphabet - 1).bit_length() - COARSE_ALPHABET.bit_length() + 1, 0)
    coarse = symbols >> shift if shift else symbols
    width = (alphabet - 1 >> shift) + 1
    total = kernels.count_symbols(coarse, width)
    blocks = -(-symbols.size // MAX_LENGTH)
    best, least = WHOLE, _coded_bits(total[None, :], blocks)
    for length, period in layouts(shape):
        each = np.arange(period, dtype=np.uint32)
        counts = kernels.count_runs(coarse, length, each, period, width)
        for classes in CANDIDATES:
            found, sums = _classify(counts, min(classes, period))
            bits = _coded_bits(sums, blocks) + _coded_bits(np.bincount(found)[None, :], 1)
            if bits < least:
                best, least = Runs(length, found), bits
    return best


def _classify(counts: Counts, classes: int) -> tuple[npt.NDArray[np.uint8], Counts]:
    """Put runs, given by their symbols' counts, into at most so many classes; the counts of each.

    The first classes are of equal size, by what the runs cost under one code for all.
    """
    cost = counts @ _rates(np.sum(counts, axis=0)[None, :])[0]
    order = np.argsort(cost, kind="stable")
    starts = np.arange(classes) * len(counts) // classes
    sums = np.add.reduceat(counts[order], starts, axis=0)
    for _ in range(STEPS):
        found, sums = kernels.nearest_classes(counts, _rates(sums))
    used = np.any(sums > 0, axis=1)
    return (np.cumsum(used) - 1).astype(np.uint8)[found], sums[used]


def _rates(counts: Counts) -> Counts:
    """Bits of each symbol in each class, in units of 1/256; integers, so that sums are exact."""
    smooth = 16 * counts + 1
    rates = log2(np.sum(smooth, axis=1, keepdims=True)) - log2(smooth)
    return np.rint(RATE_UNIT * rates).astype(np.int64)


def _coded_bits(counts: Counts, blocks: int) -> int:
    """About what symbols take with a code for each row of counts."""
    overhead = len(counts) * (TABLE_BITS + SEGMENT_BITS * blocks)
    return int(np.sum(counts * _rates(counts))) // RATE_UNIT + overhead
