"""Code tables: the lengths of a canonical Huffman code, and how they are written.

Only the lengths travel (Deep Compression, section 4, leaves the table out of its count; here it
is paid for). They are written as differences from symbol to symbol, because neighbouring levels
of a codebook and neighbouring gaps have nearly equal frequencies:

    0            the same length as the symbol before
    10           one longer
    110          one shorter
    111 + 4 bits the length itself, lowest bit first

The bits fill bytes from the lowest bit up, the last byte is padded with zeros, and before the
first symbol the length counts as ceil(log2 alphabet).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import corrupt
from ..kernels import coding
from .varint import Cursor, encode_varint

MAX_ALPHABET = 4096
MAX_LENGTH = 15

Lengths = npt.NDArray[np.uint8]


def length_limit(alphabet: int) -> int:
    """Longest code allowed, in bits: short enough for a decoding table that stays in cache."""
    if alphabet <= 64:
        return 11
    return 12 if alphabet <= 256 else MAX_LENGTH


def code_lengths(counts: npt.NDArray[np.int64]) -> Lengths:
    """Optimal code lengths under `length_limit` (Larmore and Hirschberg 1990, package-merge).

    Parameters
    ----------
    counts : int64[alphabet]
        Occurrences of each symbol; the alphabet has 1 to 4,096 of them.

    Returns
    -------
    uint8[alphabet]
        0 for symbols that do not occur; a symbol that occurs alone has length 1.
    """
    return coding.code_lengths(counts, length_limit(counts.size))


def encode_table(lengths: Lengths) -> bytes:
    """Write the alphabet's size and its code lengths; an alphabet of one needs no lengths."""
    size = encode_varint(lengths.size)
    return size if lengths.size == 1 else size + coding.write_lengths(lengths)


def decode_table(cursor: Cursor, what: str) -> Lengths:
    """Read a table written by `encode_table`. Raises CorruptError unless the code is complete."""
    alphabet = cursor.varint(f"{what} alphabet", low=1, high=MAX_ALPHABET)
    if alphabet == 1:
        return np.ones(1, np.uint8)
    with corrupt(f"{what} code lengths"):
        lengths, size = coding.read_lengths(cursor.rest, alphabet)
    cursor.skip(size)
    return lengths
