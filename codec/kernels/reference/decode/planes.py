"""Byte planes in NumPy: the oracle the C kernels are held to, and their stand-in.

The bytes of equal significance of all elements form a plane. Two neighbouring planes can also be
coded as a *pair*: the high plane's byte and the low plane's upper bits form one symbol, the low
plane's other bits, its *low bits*, are packed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...coding_arguments import (
    Array,
    Buffer,
    Bytes,
    Integers,
    Pairs,
    check_elements,
    check_low_bits,
    check_planes,
    check_size,
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
    """Cut elements into their bytes.

    Parameters
    ----------
    elements : array[n] of a dtype of 1, 2, 4, 8 or 16 bytes
    rotated : bool
        Whether to rotate each element left by one bit first (2, 4 or 8 bytes only).

    Returns
    -------
    uint8[itemsize, n]
        Least significant bytes first.

    Raises
    ------
    ValueError
        If the elements' size or layout does not allow it.
    """
    check_elements(elements, rotated=rotated)
    size = elements.dtype.itemsize
    words = elements.view(np.uint8).reshape(elements.size, size)
    if rotated:
        number = elements.view(f"u{size}")
        words = (number << 1 | number >> (8 * size - 1)).view(np.uint8).reshape(-1, size)
    return np.ascontiguousarray(words.T)


def join_planes(planes: Sequence[Buffer], out: Array, *, rotated: bool) -> None:
    """Put elements together from their planes: the inverse of `split_planes`.

    Parameters
    ----------
    planes : buffers of n bytes, or of one that stands for all n
    out : array[n]
        Receives the elements.
    rotated : bool
        As for `split_planes`.

    Raises
    ------
    ValueError
        If the planes do not fit the output.
    """
    check_elements(out, rotated=rotated)
    check_planes(planes, out)
    words = out.view(np.uint8).reshape(out.size, out.dtype.itemsize)
    for number, plane in enumerate(planes):
        words[:, number] = np.frombuffer(plane, np.uint8)
    if rotated:
        number_view = out.view(f"u{out.dtype.itemsize}")
        number_view[:] = number_view >> 1 | number_view << (8 * out.dtype.itemsize - 1)


def count_bytes(plane: Bytes) -> Integers:
    """How often each byte occurs, as int64[256]."""
    return np.bincount(plane_array(plane), minlength=256).astype(np.int64)


def pair_symbols(low: Bytes, high: Bytes, low_bits: int) -> tuple[Pairs, Integers]:
    """Symbols of two planes, and how often each occurs.

    Parameters
    ----------
    low, high : uint8[n]
    low_bits : int
        1 to 7.

    Returns
    -------
    symbols : uint16[n]
        high << (8 - low_bits) | low >> low_bits.
    counts : int64[256 << 8 - low_bits]
    """
    check_low_bits(low_bits)
    low, high = plane_array(low), plane_array(high)
    check_size(high, low.size)
    symbols = (high.astype(np.uint16) << (8 - low_bits) | low >> low_bits).astype(np.uint16)
    return symbols, np.bincount(symbols, minlength=256 << 8 - low_bits).astype(np.int64)


def pack_bits(plane: Bytes, bits: int) -> Bytes:
    """The low bits of each byte, back to back from the lowest bit up, padded with zeros."""
    check_low_bits(bits)
    each = plane_array(plane)[:, None] >> np.arange(bits, dtype=np.uint8) & 1
    return np.packbits(each.reshape(-1), bitorder="little")


def split_pairs(pairs: Pairs, packed: Buffer, low_bits: int) -> tuple[Bytes, Bytes]:
    """Two planes out of pairs of bytes, the low one with its low bits taken from `packed`.

    Parameters
    ----------
    pairs : uint16[n]
        high << 8 | low, without the low bits.
    packed : buffer of ceil(n * low_bits / 8) bytes
    low_bits : int
        1 to 7.

    Returns
    -------
    low, high : uint8[n]
    """
    check_low_bits(low_bits)
    data = np.frombuffer(packed, np.uint8)
    check_size(data, packed_size(pairs.size, low_bits))
    bits = np.unpackbits(data, count=pairs.size * low_bits, bitorder="little")
    below = np.packbits(bits.reshape(pairs.size, low_bits), axis=1, bitorder="little")
    return (pairs & 0xFF).astype(np.uint8) | below[:, 0], (pairs >> 8).astype(np.uint8)
