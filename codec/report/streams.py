"""Streams of symbols beside their entropy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..entropy import Counts, cross_entropy_bits, entropy_bits, fixed_bits
from ..wire.codebook import Code
from ..wire.segments import Offsets


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """One stream of a frame; all sizes in bits.

    Attributes
    ----------
    stream : str
        What the symbols are: ``index``, ``index-high``, ``index-low``, ``gap`` or ``plane-N``.
    symbols, alphabet : int
        Number of symbols, and of different values the code can express.
    fixed_bits : int
        symbols * ceil(log2 alphabet).
    entropy_bits : float
        Order-0 entropy of the stream, the bound of any code that only counts symbols.
    kl_bits : float
        symbols * KL(P || Q): what the code's whole-bit lengths cost above the entropy.
        Negative where a lossless coder finds more structure than frequencies.
    table_bits : int
        The code table.
    framing_bits : int
        Segment sizes and padding to whole bytes.
    """

    stream: str
    symbols: int
    alphabet: int
    fixed_bits: int
    entropy_bits: float
    kl_bits: float
    table_bits: int
    framing_bits: int

    @property
    def coded_bits(self) -> int:
        """What the file spends on the stream: entropy + kl + table + framing."""
        return round(self.entropy_bits + self.kl_bits) + self.table_bits + self.framing_bits


def stream_statistics(
    stream: str, counts: Counts, lengths: npt.NDArray[np.uint8], *, table: int, segments: int
) -> StreamStatistics:
    """Statistics of a Huffman-coded stream.

    Parameters
    ----------
    counts : int64[alphabet]
        Occurrences of each symbol.
    lengths : uint8[alphabet]
        Its code lengths, in bits.
    table, segments : int
        Size of the code table and of all coded segments, in bytes.
    """
    symbols = int(counts.sum())
    entropy = entropy_bits(counts)
    payload = cross_entropy_bits(counts, lengths)
    return StreamStatistics(
        stream=stream,
        symbols=symbols,
        alphabet=int(counts.size),
        fixed_bits=fixed_bits(symbols, int(counts.size)),
        entropy_bits=entropy,
        kl_bits=payload - entropy,
        table_bits=8 * table,
        framing_bits=8 * segments - payload,
    )


def code_statistics(code: Code, counts: Offsets, segments: int) -> StreamStatistics:
    """Statistics of symbols that occur so often and whose segments take `segments` bytes."""
    return stream_statistics(
        code.name, counts, code.lengths, table=code.table_bytes, segments=segments
    )
