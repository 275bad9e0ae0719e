"""The byte planes in C: arguments are checked and results allocated here.

`reference.decode.planes` documents each function; the two modules agree to the last byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import _kernels
from ..coding_arguments import (
    Array,
    Buffer,
    Bytes,
    Integers,
    Pairs,
    check_elements,
    check_low_bits,
    check_planes,
    packed_size,
    plane_array,
)

__all__ = [
    "count_bytes",
    "join_planes",
    "pack_bits",
    "pair_symbols",
    "split_pairs",
    "split_planes",
]


def split_planes(elements: Array, *, rotated: bool) -> Bytes:
    """Cut elements into their bytes: see `reference.decode.planes.split_planes`."""
    check_elements(elements, rotated=rotated)
    size = elements.dtype.itemsize
    planes = np.empty((size, elements.size), np.uint8)
    _kernels.split_planes(elements.view(np.uint8), size, rotated, planes)
    return planes


def join_planes(planes: Sequence[Buffer], out: Array, *, rotated: bool) -> None:
    """Put elements together from their planes: see `reference.decode.planes.join_planes`."""
    check_elements(out, rotated=rotated)
    check_planes(planes, out)
    _kernels.join_planes(planes, rotated, out.view(np.uint8))


def count_bytes(plane: Bytes) -> Integers:
    """Count how often each byte occurs: see `reference.decode.planes.count_bytes`."""
    counts = np.empty(256, np.int64)
    _kernels.count_bytes(plane_array(plane), counts)
    return counts


def pair_symbols(low: Bytes, high: Bytes, low_bits: int) -> tuple[Pairs, Integers]:
    """Symbols of two planes, and their counts: see `reference.decode.planes.pair_symbols`."""
    check_low_bits(low_bits)
    low, high = plane_array(low), plane_array(high)
    symbols = np.empty(low.size, np.uint16)
    counts = np.empty(256 << 8 - low_bits, np.int64)
    _kernels.pair_symbols(low, high, low_bits, symbols, counts)
    return symbols, counts


def pack_bits(plane: Bytes, bits: int) -> Bytes:
    """Pack the low bits of each byte: see `reference.decode.planes.pack_bits`."""
    check_low_bits(bits)
    packed = np.empty(packed_size(plane.size, bits), np.uint8)
    _kernels.pack_bits(plane_array(plane), bits, packed)
    return packed


def split_pairs(pairs: Pairs, packed: Buffer, low_bits: int) -> tuple[Bytes, Bytes]:
    """Two planes out of pairs of bytes: see `reference.decode.planes.split_pairs`."""
    check_low_bits(low_bits)
    low, high = np.empty((2, pairs.size), np.uint8)
    _kernels.split_pairs(np.ascontiguousarray(pairs), packed, low_bits, low, high)
    return low, high
