"""Runs and their classes: which rows of a tensor share a code table.

The rows of a weight matrix differ in scale, and one code for all of them costs bits. The classes
are found as in k-means, with code lengths for distances: each row joins the class whose code makes
it shortest, each class takes the code that suits its rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcz.codec import huffman, kernels
from dcz.codec.errors import CorruptError, TruncatedError
from dcz.codec.frame import AnyArray
from dcz.codec.segments import block_counts, decode_symbols, find_segments, takes_bits
from dcz.codec.varint import Cursor, encode_varint

BLOCK = 2**18
MIN_LENGTH = 8
MAX_CLASSES = kernels.CLASS_LIMIT
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

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """How a tensor is cut into runs, and their classes.

    Attributes
    ----------
    length : int
        Elements of a run, 8 to 2**18; the last run of the tensor may be shorter.
    classes : uint8[runs]
        The class of each run; all classes from 0 to the greatest are used.
    """

    length: int
    classes: npt.NDArray[np.uint8]

    @property
    def count(self) -> int:
        """Number of classes."""
        if self.classes.size == 1:
            return 1
        return int(self.classes.max()) + 1

    @property
    def runs_in_block(self) -> int:
        """Runs that are coded together."""
        return BLOCK // self.length

    @property
    def groups(self) -> npt.NDArray[np.uint32]:
        """The classes as the kernels take them."""
        return self.classes.astype(np.uint32)

    def encode(self) -> bytes:
        """As a frame holds them: number of classes; if they are several, run length and map."""
        if self.count == 1:
            return bytes([1])
        lengths = huffman.code_lengths(kernels.count_symbols(self.classes, self.count))
        starts = np.concatenate(([0], np.cumsum(block_counts(self.classes.size, BLOCK))))
        return (
            bytes([self.count])
            + encode_varint(self.length)
            + huffman.encode_table(lengths)
            + kernels.encode_segments(self.classes, starts, lengths)[0]
        )

    @classmethod
    def decode(cls, cursor: Cursor, numel: int) -> Runs:
        """Read what `encode` wrote for a tensor of so many elements. Raises CorruptError."""
        count = cursor.byte("classes")
        if count == 1:
            return one_class(numel)
        if not 2 <= count <= MAX_CLASSES:
            raise CorruptError(f"classes: {count} is outside 1 to {MAX_CLASSES}")
        length = cursor.varint("run length", low=MIN_LENGTH, high=BLOCK)
        number = -(-numel // length)
        lengths = huffman.decode_table(cursor, "class")
        if np.count_nonzero(lengths) != count or lengths.size != count:
            raise CorruptError(f"class alphabet: {lengths.size} symbols for {count} classes")
        # Each run takes a bit at least, before anything is allocated for it.
        if number > 8 * cursor.remaining:
            raise TruncatedError(f"class: {number} runs in {cursor.remaining} bytes")
        counts = block_counts(number, BLOCK)
        offsets = find_segments(cursor, counts, [takes_bits(lengths)], "class")[:-1]
        classes = decode_symbols(cursor.data, offsets, counts, lengths, "class").astype(np.uint8)
        if np.count_nonzero(kernels.count_symbols(classes, count)) < count:
            raise CorruptError("class: one has no run")
        return cls(length, classes)


def one_class(numel: int) -> Runs:
    """Runs as long as a block, all in one class."""
    return Runs(BLOCK, np.zeros(-(-numel // BLOCK), np.uint8))


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
    counts = kernels.count_runs(coarse, length, rows, rows.size, (alphabet - 1 >> shift) + 1)
    blocks = -(-symbols.size // BLOCK)
    costs = TABLE_BITS + SEGMENT_BITS * blocks, TABLE_BITS + SEGMENT_BITS
    least = kernels.coded_bits(np.sum(counts, axis=0)[None, :], costs[0])
    least -= least // CLASS_PRICE
    best = one_class(symbols.size)
    for classes in CANDIDATES:
        most = min(classes, rows.size, most_classes)
        found = kernels.classify(counts, most, STEPS, costs, least) if most > 1 else None
        if found is not None:
            best, least = Runs(length, found[0]), found[1]
    return best


def has_classes(numel: int, shape: tuple[int, ...]) -> bool:
    """Whether the rows of a tensor of so many elements may be put into classes."""
    if numel < FEWEST_ELEMENTS or len(shape) < 2 or shape[0] < 2:
        return False
    return MIN_LENGTH <= numel // shape[0] <= BLOCK


def segment_sizes(runs: Runs, numel: int) -> Counts:
    """How many elements each class has in each block: int64[blocks, classes]."""
    starts = range(0, runs.classes.size, runs.runs_in_block)
    blocks = [runs.classes[start : start + runs.runs_in_block] for start in starts]
    sizes = runs.length * np.array([np.bincount(own, minlength=runs.count) for own in blocks])
    sizes[-1, runs.classes[-1]] -= -numel % runs.length
    return np.asarray(sizes, np.int64)


def by_class(indices: AnyArray, runs: Runs) -> list[list[AnyArray]]:
    """The indices of every class in every block: result[block][class]."""
    if runs.count == 1:
        size = runs.runs_in_block * runs.length
        return [[indices[at : at + size]] for at in range(0, indices.size, size)]
    found = []
    for block, sizes in enumerate(segment_sizes(runs, indices.size)):
        first = block * runs.runs_in_block
        classes = runs.classes[first : first + runs.runs_in_block]
        part = indices[first * runs.length :][: classes.size * runs.length]
        rows = np.resize(part, classes.size * runs.length).reshape(-1, runs.length)
        own = [rows[classes == k].reshape(-1)[:size] for k, size in enumerate(sizes.tolist())]
        found.append(own)
    return found
