"""Runs and their classes: which rows of a tensor share a code table.

The rows of a weight matrix differ in scale, and one code for all of them costs bits. The classes
are found as in k-means, with code lengths for distances: each row joins the class whose code makes
it shortest, each class takes the code that suits its rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import CorruptError, TruncatedError
from ..kernels import coding, coding_arguments
from . import code_table
from .segments import block_counts, decode_symbols, find_segments, takes_bits
from .varint import Cursor, encode_varint

BLOCK = 2**18
MIN_LENGTH = 8
MAX_CLASSES = coding_arguments.CLASS_LIMIT

Counts = npt.NDArray[np.int64]


class Runs:
    """How a tensor is cut into runs, and their classes.

    Attributes
    ----------
    length : int
        Elements of a run, 8 to 2**18; the last run of the tensor may be shorter.
    classes : uint8[runs]
        The class of each run; all classes from 0 to the greatest are used.
    """

    __slots__ = ("classes", "length")

    def __init__(self, length: int, classes: npt.NDArray[np.uint8]) -> None:
        self.length = length
        self.classes = classes

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
        lengths = code_table.code_lengths(coding.count_symbols(self.classes, self.count))
        starts = np.concatenate(([0], np.cumsum(block_counts(self.classes.size, BLOCK))))
        return (
            bytes([self.count])
            + encode_varint(self.length)
            + code_table.encode_table(lengths)
            + coding.encode_segments(self.classes, starts, lengths)[0]
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
        lengths = code_table.decode_table(cursor, "class")
        if np.count_nonzero(lengths) != count or lengths.size != count:
            raise CorruptError(f"class alphabet: {lengths.size} symbols for {count} classes")
        # Each run takes a bit at least, before anything is allocated for it.
        if number > 8 * cursor.remaining:
            raise TruncatedError(f"class: {number} runs in {cursor.remaining} bytes")
        counts = block_counts(number, BLOCK)
        offsets = find_segments(cursor, counts, [takes_bits(lengths)], "class")[:-1]
        classes = decode_symbols(cursor.data, offsets, counts, lengths, "class").astype(np.uint8)
        if np.count_nonzero(coding.count_symbols(classes, count)) < count:
            raise CorruptError("class: one has no run")
        return cls(length, classes)


def one_class(numel: int) -> Runs:
    """Runs as long as a block, all in one class."""
    return Runs(BLOCK, np.zeros(-(-numel // BLOCK), np.uint8))


def segment_sizes(runs: Runs, numel: int) -> Counts:
    """How many elements each class has in each block: int64[blocks, classes]."""
    starts = range(0, runs.classes.size, runs.runs_in_block)
    blocks = [runs.classes[start : start + runs.runs_in_block] for start in starts]
    sizes = runs.length * np.array([np.bincount(own, minlength=runs.count) for own in blocks])
    sizes[-1, runs.classes[-1]] -= -numel % runs.length
    return np.asarray(sizes, np.int64)
