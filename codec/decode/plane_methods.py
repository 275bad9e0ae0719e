"""How one plane of a chunk is coded, and two of them as a pair.

A plane of bytes is kept raw, as one repeated byte, under a Huffman code or by zstandard, whichever
is least. Where an exponent fills the upper of two planes, its distribution within an octave tells
something about the mantissa's first bits (the density falls from one end of the octave to the
other), and a code of more symbols loses less to whole bits: the two planes then form a pair, one
symbol of the exponent and the mantissa's first bits, while the other bits are packed as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import CorruptError, corrupt
from ..kernels import coding
from ..kernels import planes as kernels
from ..wire import code_table
from ..wire.arrays import AnyArray
from ..wire.segments import as_offsets, find_segments, identity, takes_bits
from ..wire.varint import Cursor

RAW, CONSTANT, HUFFMAN, ZSTANDARD, LOW_BITS, JOINED = range(6)

Buffer = bytes | memoryview | AnyArray


class CodedPlane(NamedTuple):
    """A plane as the payload holds it.

    Attributes
    ----------
    method : int
    data : memoryview
        What follows the method and its parameters.
    symbols : int
        Bytes of the plane.
    size : int
        Bytes of the payload.
    parameter : int
        The low bits, or the base; 0 for other methods.
    """

    method: int
    data: memoryview
    symbols: int
    size: int
    parameter: int = 0


def read_planes(cursor: Cursor, count: int, symbols: int) -> list[CodedPlane]:
    """Step over the planes of one chunk. Raises CorruptError."""
    planes: list[CodedPlane] = []
    for _ in range(count):
        plane = _read_plane(cursor, symbols)
        below = planes[-1].method if planes else RAW
        if (plane.method == JOINED) != (below == LOW_BITS):
            raise CorruptError("plane of low bits and joined plane do not follow each other")
        planes.append(plane)
    if planes[-1].method == LOW_BITS:
        raise CorruptError("plane of low bits: no joined plane follows")
    return planes


def _read_plane(cursor: Cursor, symbols: int) -> CodedPlane:
    start = cursor.position
    method = cursor.byte("plane method")
    parameter = 0
    if method == RAW:
        data = cursor.take(symbols, "plane")
    elif method == CONSTANT:
        data = cursor.take(1, "plane")
    elif method in (HUFFMAN, ZSTANDARD):
        data = cursor.take(cursor.varint("plane size", low=1, high=symbols), "plane")
    elif method == LOW_BITS:
        parameter = cursor.byte("plane's low bits")
        data = _take_low_bits(cursor, symbols, parameter)
    elif method == JOINED:
        parameter = cursor.byte("plane's base")
        data = cursor.take(cursor.varint("plane size", low=1, high=2 * symbols), "plane")
    else:
        raise CorruptError(f"plane method {method} is unknown")
    return CodedPlane(method, data, symbols, cursor.position - start, parameter)


def _take_low_bits(cursor: Cursor, symbols: int, bits: int) -> memoryview:
    if not 1 <= bits <= 7:
        raise CorruptError(f"plane's low bits: {bits} is outside 1 to 7")
    data = cursor.take(-(-symbols * bits // 8), "plane")
    used = symbols * bits % 8
    if used and data[-1] >> used:
        raise CorruptError("plane's low bits: padding is not zero")
    return data


def decode_planes(planes: list[CodedPlane]) -> list[Buffer]:
    """The bytes of each plane of a chunk, or one byte that stands for all. Raises CorruptError."""
    decoded: list[Buffer] = []
    for number, plane in enumerate(planes):
        if plane.method == LOW_BITS:
            joined = planes[number + 1]
            pairs = decode_symbols(joined, _pair_values(joined, plane.parameter))
            decoded += kernels.split_pairs(pairs, plane.data, plane.parameter)
        elif plane.method == HUFFMAN:
            decoded.append(decode_symbols(plane, identity(256).astype(np.uint8)))
        elif plane.method == ZSTANDARD:
            decoded.append(_decode_zstandard(plane))
        elif plane.method != JOINED:
            decoded.append(plane.data)
    return decoded


def _pair_values(plane: CodedPlane, low_bits: int) -> AnyArray:
    """For each symbol that the plane may have, its byte above the upper bits of the one below."""
    symbols = np.arange(256 - plane.parameter << 8 - low_bits)
    return (symbols + (plane.parameter << 8 - low_bits) << low_bits).astype(np.uint16)


def decode_symbols(plane: CodedPlane, values: AnyArray) -> AnyArray:
    """Decode a plane's table and segment through a list of values. Raises CorruptError."""
    cursor = Cursor(plane.data)
    lengths = code_table.decode_table(cursor, "plane")
    if lengths.size > values.size:
        raise CorruptError(f"plane alphabet: {lengths.size} symbols, at most {values.size} fit")
    counts = as_offsets((plane.symbols,))
    offsets = find_segments(cursor, counts, [takes_bits(lengths)], "plane")[:1]
    cursor.finish("plane")
    out = np.empty(plane.symbols, values.dtype)
    with corrupt("plane"):
        coding.decode_dense(plane.data, offsets, counts, lengths, values, out)
    return out


def _decode_zstandard(plane: CodedPlane) -> bytes:
    import zstandard

    try:
        if zstandard.frame_content_size(plane.data) != plane.symbols:
            raise CorruptError(f"plane: zstandard frame is not of {plane.symbols} bytes")
        return zstandard.ZstdDecompressor().decompress(
            plane.data,
            max_output_size=plane.symbols,
            read_across_frames=False,
            allow_extra_data=False,
        )
    except zstandard.ZstdError as error:
        raise CorruptError(f"plane: zstandard: {error}") from None
