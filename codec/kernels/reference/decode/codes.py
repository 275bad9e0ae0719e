"""Canonical, length-limited prefix codes in NumPy.

Codes are assigned by (length, symbol) as in DEFLATE (RFC 1951, section 3.2.2). They are written
first bit lowest, so the numbers here are the canonical codes with their bits reversed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...coding_arguments import (
    ALPHABET_LIMIT,
    COUNTS_LIMIT,
    LENGTH_LIMIT,
    Bytes,
    Integers,
    check_limit,
    integer_array,
    require,
)

_LONGEST_WORD = 7
# How no change, one up and (as index -1) one down are written, first bit lowest.
_STEP_WORDS = np.array([0b0, 0b01, 0b011])
_STEP_SIZES = np.array([1, 2, 3])


def code_lengths(counts: Integers, limit: int) -> Bytes:
    """Lengths of an optimal prefix code in which no code is longer than `limit`.

    Package-merge: Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman
    codes", 1990. The result depends on the counts only. Among equal counts the smaller symbol
    never gets the longer code, and a leaf goes before a package of equal weight.

    Parameters
    ----------
    counts : int64[alphabet]
        How often each symbol occurs; their sum is at most 2**58.
    limit : int
        Longest code allowed, in bits, 1 to 15.

    Returns
    -------
    uint8[alphabet]
        0 for symbols that do not occur. A symbol that is alone gets length 1.

    Raises
    ------
    ValueError
        If `limit` bits cannot tell the symbols apart, or an argument is out of range.
    """
    counts = integer_array(counts)
    check_limit(limit)
    require(len(counts) <= ALPHABET_LIMIT, "an alphabet has at most 4096 symbols")
    require(not (counts < 0).any(), "a count is negative")
    require(sum(counts.tolist()) <= COUNTS_LIMIT, "the counts are too large")
    # Rarest first; of equal counts the larger symbol first, as the first get the longest codes.
    order = np.lexsort((-np.arange(len(counts)), counts))
    order = order[counts[order] > 0]
    require(len(order) <= 1 << limit, "the code length limit is too small for the symbols used")
    lengths = np.zeros(len(counts), dtype=np.uint8)
    if len(order) == 1:
        lengths[order] = 1
    if len(order) > 1:
        lengths[order] = _package_merge(counts[order], limit)
    return lengths


def _package_merge(leaves: Integers, limit: int) -> Bytes:
    """Code lengths of at least two leaves given in ascending order of weight."""
    packed: list[npt.NDArray[np.bool_]] = []
    items = leaves
    for _ in range(limit):
        # A stable sort of leaves followed by packages keeps the leaf first on ties.
        packages = items[: len(items) & ~1].reshape(-1, 2).sum(axis=1) if packed else items[:0]
        candidates = np.concatenate((leaves, packages))
        order = np.argsort(candidates, kind="stable")
        packed.append(order >= len(leaves))
        items = candidates[order]
    lengths = np.zeros(len(leaves), dtype=np.uint8)
    chosen = 2 * len(leaves) - 2
    for is_package in reversed(packed):
        packages_chosen = int(np.count_nonzero(is_package[:chosen]))
        lengths[: chosen - packages_chosen] += 1
        chosen = 2 * packages_chosen
    return lengths


def write_lengths(lengths: Bytes) -> bytes:
    """Write the code lengths of a code table; FORMAT.md has the bits.

    Parameters
    ----------
    lengths : uint8[alphabet]
        As `decoding_table` accepts them.

    Raises
    ------
    ValueError
        If they are not those of a code.
    """
    length = checked_lengths(lengths).astype(np.int64)
    change = np.diff(length, prepend=(len(length) - 1).bit_length())
    step = np.clip(change, -1, 1)
    words = np.where(step == change, _STEP_WORDS[step], 0b111 | length << 3)
    sizes = np.where(step == change, _STEP_SIZES[step], _LONGEST_WORD)
    starts = np.cumsum(sizes) - sizes
    within = np.arange(sizes.sum()) - np.repeat(starts, sizes)
    bits = np.repeat(words, sizes) >> within & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()


def read_lengths(coded: Any, alphabet: int) -> tuple[Bytes, int]:
    """Read the code lengths of a code table; FORMAT.md has the bits.

    Parameters
    ----------
    coded : buffer
        Begins with the lengths.
    alphabet : int
        2 to 4,096.

    Returns
    -------
    lengths : uint8[alphabet]
    size : int
        How many bytes they take.

    Raises
    ------
    EOFError
        If the buffer ends too early.
    ValueError
        If the bytes break the format, or the lengths are not those of a code.
    """
    require(2 <= alphabet <= ALPHABET_LIMIT, "an alphabet has 1 to 4096 symbols")
    data = np.frombuffer(coded, np.uint8)[:ALPHABET_LIMIT]
    bits = np.unpackbits(data, bitorder="little").tolist()
    lengths, used = _parse_lengths(bits, alphabet)
    size = -(-used // 8)
    require(not any(bits[used : 8 * size]), "padding is not zero")
    _check_complete(lengths)
    return lengths, size


def _parse_lengths(bits: list[int], alphabet: int) -> tuple[Bytes, int]:
    """The lengths, and how many bits they took."""
    lengths = []
    length = (alphabet - 1).bit_length()
    end, at = len(bits), 0
    bits = bits + [0] * _LONGEST_WORD
    for _ in range(alphabet):
        if not bits[at]:
            at += 1
        elif not bits[at + 1]:
            length, at = length + 1, at + 2
        elif not bits[at + 2]:
            length, at = length - 1, at + 3
        else:
            length = bits[at + 3] | bits[at + 4] << 1 | bits[at + 5] << 2 | bits[at + 6] << 3
            at += _LONGEST_WORD
        require(0 <= length <= LENGTH_LIMIT, "a code length is outside 0 to 15 bits")
        if at > end:
            raise EOFError("they end too early")
        lengths.append(length)
    return np.array(lengths, np.uint8), at


def _check_complete(lengths: Bytes) -> None:
    used = lengths[lengths > 0].astype(np.int64)
    if used.size == 1:
        require(used[0] == 1, "the code of a single symbol must have length 1")
        return
    kraft = int(np.sum(1 << (LENGTH_LIMIT - used)))
    require(kraft == 1 << LENGTH_LIMIT, "the code lengths are not those of a complete code")


def decoding_table(lengths: Bytes) -> npt.NDArray[np.uint16]:
    """Table that decodes one symbol from the next bits of a stream.

    Parameters
    ----------
    lengths : uint8[alphabet]
        Code length of each symbol, 0 for one that does not occur.

    Returns
    -------
    uint16[2**longest]
        ``symbol << 4 | length``, indexed by the next `longest` bits, first bit lowest.

    Raises
    ------
    ValueError
        If the lengths are not those of a complete code of at least two symbols, nor of a single
        symbol with length 1.
    """
    lengths = checked_lengths(lengths)
    longest = int(lengths.max())
    order = _canonical_order(lengths)
    entries = (order << 4 | lengths[order]).astype(np.uint16)
    repeats = np.int64(1) << (longest - lengths[order].astype(np.int64))
    if len(order) == 1:
        repeats = np.array([2])
    # In canonical order each code owns a run of the table, by its first bit highest.
    return np.repeat(entries, repeats)[_reversed_bits(longest)]


def checked_lengths(lengths: Bytes) -> Bytes:
    """Return the lengths as an array; ValueError unless `decoding_table` accepts them."""
    lengths = np.ascontiguousarray(lengths, dtype=np.uint8)
    require(1 <= len(lengths) <= ALPHABET_LIMIT, "an alphabet has 1 to 4096 symbols")
    require(int(lengths.max()) <= LENGTH_LIMIT, "a code length is over 15 bits")
    used = lengths[lengths > 0].astype(np.int64)
    if len(used) == 1:
        require(used[0] == 1, "the code of a single symbol must have length 1")
        return lengths
    kraft = int((np.int64(1) << (LENGTH_LIMIT - used)).sum())
    require(kraft == 1 << LENGTH_LIMIT, "the code lengths are not those of a complete code")
    return lengths


def _canonical_order(lengths: Bytes) -> Integers:
    """The used symbols by (length, symbol)."""
    order = np.argsort(lengths, kind="stable")
    return order[lengths[order] > 0]


def _reversed_bits(width: int) -> Integers:
    """``r[i]`` = the lowest `width` bits of i in reverse order."""
    reversed_bits = np.zeros(1, dtype=np.int64)
    for _ in range(width):
        reversed_bits = np.concatenate((2 * reversed_bits, 2 * reversed_bits + 1))
    return reversed_bits


def assigned_codes(lengths: Bytes) -> Integers:
    """The canonical code of each symbol, first bit lowest; 0 for unused symbols."""
    longest = int(lengths.max())
    order = _canonical_order(lengths)
    widths = np.int64(1) << (longest - lengths[order].astype(np.int64))
    codes = np.zeros(len(lengths), dtype=np.int64)
    # Reversed, the longest - length low zeros of a run's start become high zeros.
    codes[order] = _reversed_bits(longest)[np.cumsum(widths) - widths]
    return codes
