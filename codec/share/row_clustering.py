"""Putting the rows of a tensor into classes whose indices are distributed alike."""

from __future__ import annotations

import numpy as np

from ..kernels import levels
from ..wire.arrays import AnyArray
from ..wire.row_classes import BLOCK, MAX_CLASSES, MIN_LENGTH, Runs, one_class

CANDIDATES = (2, 5)
STEPS = 6
# Classes are told apart by counts of 64 symbols at most; finer ones would add little.
COARSE_BITS = 6
# Of as few as there may be, 16: their rows are too short to tell more.
COARSEST_BITS = 4
# Rows of several classes wait for each other while they are decoded, which takes a third of the
# time again: classes must save one part in so many.
CLASS_PRICE = 300
FEWEST_ELEMENTS = 4096
# Rough size of a class beside its symbols, in bits: per table, and per segment.
TABLE_BITS = 150
SEGMENT_BITS = 160


def find_runs(
    symbols: AnyArray, alphabet: int, shape: tuple[int, ...], most_classes: int = MAX_CLASSES
) -> Runs:
    """The rows of a tensor in classes that make its symbols short, or all of it in one class.

    A row is all that has one first index.

    Parameters
    ----------
    symbols : uint8[numel] or uint16[numel]
        Neighbouring values stand for neighbouring weights.
    alphabet : int
        Number of different symbols.
    shape : tuple of int
        Of the tensor.
    most_classes : int
        How many classes there may be.
    """
    if not has_classes(symbols.size, shape):
        return one_class(symbols.size)
    length = symbols.size // shape[0]
    told_apart = COARSE_BITS if symbols.size > FEWEST_ELEMENTS else COARSEST_BITS
    shift = max((alphabet - 1).bit_length() - told_apart, 0)
    coarse: AnyArray = symbols >> shift if shift else symbols
    rows = np.arange(shape[0], dtype=np.uint32)
    counts = levels.count_runs(coarse, length, rows, rows.size, (alphabet - 1 >> shift) + 1)
    blocks = -(-symbols.size // BLOCK)
    costs = TABLE_BITS + SEGMENT_BITS * blocks, TABLE_BITS + SEGMENT_BITS
    least = levels.coded_bits(np.sum(counts, axis=0)[None, :], costs[0])
    least -= least // CLASS_PRICE
    best = one_class(symbols.size)
    for classes in CANDIDATES:
        most = min(classes, rows.size, most_classes)
        found = levels.classify(counts, most, STEPS, costs, least) if most > 1 else None
        if found is not None:
            best, least = Runs(length, found[0]), found[1]
    return best


def has_classes(numel: int, shape: tuple[int, ...]) -> bool:
    """Whether the rows of a tensor of so many elements may be put into classes."""
    if numel < FEWEST_ELEMENTS or len(shape) < 2 or shape[0] < 2:
        return False
    return MIN_LENGTH <= numel // shape[0] <= BLOCK
