"""Codes and digests in C; `reference.coding` documents each function and agrees in every byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _kernels
from ..coding_arguments import (
    ALPHABET_LIMIT,
    Array,
    Bytes,
    ClassCodes,
    Integers,
    Symbols,
    check_alphabet,
    check_classes,
    check_codebook,
    check_filler,
    check_limit,
    check_output,
    check_span,
    check_table,
    check_values,
    integer_array,
    require,
    symbol_array,
)
from ..digest import DIGEST_CHUNK, Digests, digest_count, write_digests

__all__ = [
    "code_lengths",
    "count_symbols",
    "decode_dense",
    "decode_runs",
    "decode_sparse",
    "decoding_table",
    "encode_segments",
    "find_blocks",
    "find_class_segments",
    "find_segments",
    "read_class_codes",
    "read_lengths",
    "split_sparse",
    "write_digests",
    "write_lengths",
]


def count_symbols(symbols: Symbols, alphabet: int) -> Integers:
    """Count how often each symbol occurs: see `reference.coding.count_symbols`."""
    check_alphabet(alphabet)
    symbols = symbol_array(symbols)
    counts = np.empty(alphabet, dtype=np.int64)
    _kernels.count_symbols(symbols, symbols.itemsize, counts)
    return counts


def split_sparse(
    indices: Symbols, span: int, filler: int
) -> tuple[npt.NDArray[np.uint16], Symbols, Integers, Integers]:
    """Split indices into gaps and survivors: see `reference.coding.split_sparse`."""
    check_span(span)
    check_filler(filler)
    indices = symbol_array(indices)
    # Room for the worst case costs nothing: only what is written to takes memory.
    gaps = np.empty(len(indices), dtype=np.uint16)
    survivors = np.empty(len(indices), dtype=indices.dtype)
    span = min(span, max(len(indices), 1))
    gap_starts = np.empty(-(-len(indices) // span) + 1, dtype=np.int64)
    survivor_starts = np.empty_like(gap_starts)
    _kernels.split_sparse(
        indices, indices.itemsize, span, filler, gaps, survivors, gap_starts, survivor_starts
    )
    gaps.resize(int(gap_starts[-1]), refcheck=False)
    survivors.resize(int(survivor_starts[-1]), refcheck=False)
    return gaps, survivors, gap_starts, survivor_starts


def code_lengths(counts: Integers, limit: int) -> Bytes:
    """Lengths of an optimal limited prefix code: see `reference.coding.code_lengths`."""
    check_limit(limit)
    counts = integer_array(counts)
    lengths = np.empty(len(counts), dtype=np.uint8)
    _kernels.code_lengths(counts, limit, lengths)
    return lengths


def encode_segments(symbols: Symbols, starts: Integers, lengths: Bytes) -> tuple[bytes, Integers]:
    """Code segments of symbols: see `reference.coding.encode_segments`."""
    symbols, starts = symbol_array(symbols), integer_array(starts)
    offsets = np.empty(len(starts), dtype=np.int64)
    payload = _kernels.encode_segments(
        symbols, symbols.itemsize, starts, _lengths(lengths), offsets
    )
    return payload, offsets


def write_lengths(lengths: Bytes) -> bytes:
    """Write the code lengths of a code table: see `reference.coding.write_lengths`."""
    return _kernels.write_lengths(_lengths(lengths))


def read_lengths(coded: Any, alphabet: int) -> tuple[Bytes, int]:
    """Read the code lengths of a code table: see `reference.coding.read_lengths`."""
    lengths = np.empty(alphabet, dtype=np.uint8)
    return lengths, _kernels.read_lengths(coded, lengths)


def find_segments(payload: Any, position: int, counts: Integers, coded: Sequence[bool]) -> Integers:
    """Find the segments of dense blocks: see `reference.coding.find_segments`."""
    found = np.empty(len(counts) * len(coded) + 1, dtype=np.int64)
    _kernels.find_segments(payload, position, integer_array(counts), bytes(coded), found)
    return found


def find_blocks(payload: Any, position: int, counts: Integers, coded: Sequence[bool]) -> Integers:
    """Find the segments of sparse blocks: see `reference.coding.find_blocks`."""
    found = np.empty((len(coded) + 3, len(counts)), dtype=np.int64)
    _kernels.find_blocks(payload, position, integer_array(counts), bytes(coded), found)
    return found


def decoding_table(lengths: Bytes) -> npt.NDArray[np.uint16]:
    """Table that decodes one symbol from the next bits: see `reference.coding.decoding_table`."""
    lengths = _lengths(lengths)
    longest = int(lengths.max()) if len(lengths) else 0
    table = np.empty(1 << min(longest, 15), dtype=np.uint16)
    _kernels.decoding_table(lengths, table)
    return table


def decode_dense(
    payload: Any,
    offsets: Integers,
    counts: Integers,
    lengths: Bytes,
    codebook: Array,
    out: Array,
    digests: Digests | None = None,
) -> None:
    """Decode segments through a codebook: see `reference.coding.decode_dense`."""
    check_codebook(codebook, out)
    _kernels.decode_dense(
        payload,
        integer_array(offsets),
        integer_array(counts),
        _lengths(lengths),
        _values(codebook),
        out.itemsize,
        _unsigned_bytes(out),
        NO_DIGESTS if digests is None else digests,
    )
    write_short_digest(out, digests)


def decode_sparse(
    payload: Any,
    gap_offsets: Integers,
    gap_counts: Integers,
    index_offsets: Integers,
    index_counts: Integers,
    gap_lengths: Bytes,
    filler: int,
    index_lengths: Bytes,
    codebook: Array,
    span: int,
    out: Array,
    digests: Digests | None = None,
) -> None:
    """Decode blocks of sparse values: see `reference.coding.decode_sparse`."""
    check_filler(filler)
    check_span(span)
    check_codebook(codebook, out)
    _kernels.decode_sparse(
        payload,
        integer_array(gap_offsets),
        integer_array(gap_counts),
        integer_array(index_offsets),
        integer_array(index_counts),
        _lengths(gap_lengths),
        filler,
        _lengths(index_lengths),
        _values(codebook),
        out.itemsize,
        min(span, max(len(out), 1)),
        _unsigned_bytes(out),
        NO_DIGESTS if digests is None else digests,
    )
    write_short_digest(out, digests)


def _lengths(lengths: Bytes) -> Bytes:
    return np.ascontiguousarray(lengths, dtype=np.uint8)


def _values(codebook: Array) -> Array:
    """The codebook as bytes, which any dtype can be seen as."""
    return np.ascontiguousarray(codebook).view(np.uint8)


def _unsigned_bytes(out: Array) -> Bytes:
    check_output(out)
    return out.view(np.uint8)


def read_class_codes(
    payload: Any, position: int, classes: int, levels: int, item_size: int
) -> tuple[ClassCodes, int]:
    """Read the tables of classes: see `reference.decode.classes.read_class_codes`."""
    check_table(classes, levels, item_size)
    alphabets, widths = np.empty(classes, np.int64), np.empty(classes, np.int64)
    coded = np.empty(classes, np.bool_)
    # Room for the worst case, of which what was not written to is given back.
    lengths = np.empty(classes * ALPHABET_LIMIT, np.uint8)
    members = np.empty(2 * lengths.size, np.uint16)
    end, symbols, elements = _kernels.read_class_codes(
        payload, position, levels, item_size, alphabets, widths, coded, lengths, members
    )
    lengths.resize(symbols, refcheck=False)
    members.resize(elements, refcheck=False)
    return ClassCodes(alphabets, widths, coded, lengths, members), end


def find_class_segments(
    payload: Any,
    position: int,
    classes: Bytes,
    length: int,
    runs_in_block: int,
    numel: int,
    codes: ClassCodes,
) -> Integers:
    """Find the segments of all blocks: see `reference.decode.classes.find_class_segments`."""
    check_classes(classes)
    require(runs_in_block >= 1, "a run has at least one element")
    blocks = -(-len(classes) // runs_in_block)
    found = np.empty(blocks * len(codes.alphabets) + 1, np.int64)
    _kernels.find_class_segments(
        payload,
        position,
        np.ascontiguousarray(classes),
        length,
        runs_in_block,
        numel,
        codes.coded,
        codes.widths,
        found,
    )
    return found


def decode_runs(
    payload: Any,
    offsets: Integers,
    classes: Bytes,
    length: int,
    runs_in_block: int,
    codes: ClassCodes,
    values: Array,
    out: Array,
    digests: Digests | None = None,
) -> None:
    """Decode runs that are in classes: see `reference.decode.classes.decode_runs`."""
    check_output(out)
    check_classes(classes)
    check_values(values, codes, out)
    _kernels.decode_runs(
        payload,
        integer_array(offsets),
        np.ascontiguousarray(classes),
        length,
        runs_in_block,
        codes.lengths,
        codes.alphabets,
        codes.widths,
        np.ascontiguousarray(values),
        out.itemsize,
        out.view(np.uint8),
        NO_DIGESTS if digests is None else digests,
    )
    write_short_digest(out, digests)


# XXH3 treats inputs up to this size differently; only the last chunk can be one.
_SHORT = 240
NO_DIGESTS: Digests = np.empty(0, np.uint64)


def write_short_digest(out: Array, digests: Digests | None) -> None:
    """Write the last chunk's digest, if digests are wanted and the kernels left that one."""
    if digests is None:
        return
    last = (digest_count(out.nbytes) - 1) * DIGEST_CHUNK
    if out.nbytes - last <= _SHORT:
        write_digests(out.view(np.uint8)[last:], digests[-1:])
