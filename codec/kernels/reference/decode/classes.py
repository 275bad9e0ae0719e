"""Kernels on classes of runs in NumPy: the oracle the C kernels are held to, and their stand-in.

The runs of a tensor (see `reference.encode.runs`) are each in a class, which has a code of its
own. Those of a block are coded together: the symbols of each class are a segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...coding_arguments import (
    ALPHABET_LIMIT,
    BITMAP,
    PAIRED_BYTES_LIMIT,
    PAIRED_LEVELS_LIMIT,
    PAIRS,
    Array,
    Bytes,
    ClassCodes,
    Integers,
    check_output,
    check_runs,
    check_table,
    check_values,
    checked_offsets,
    require,
)
from ...digest import Digests, write_digests
from .codes import read_lengths
from .decoding import decode_dense
from .segments import find_segments, read_varint


def read_class_codes(
    payload: Any, position: int, classes: int, levels: int, item_size: int
) -> tuple[ClassCodes, int]:
    """Read the tables of classes, which follow each other.

    Parameters
    ----------
    payload : buffer
    position : int
        Where the first table begins, in bytes.
    classes : int
        How many there are, 1 to 16.
    levels, item_size : int
        Entries of the codebook, 1 to 4096, and bytes of each, 1, 2, 4 or 8.

    Returns
    -------
    codes : ClassCodes
    end : int
        Where the last table ends, in bytes.

    Raises
    ------
    EOFError
        If the payload ends too early.
    ValueError
        If it breaks the format otherwise, or an argument is out of range.
    """
    check_table(classes, levels, item_size)
    require(0 <= position <= len(payload), "a table is outside the payload")
    reader = _TableReader(np.frombuffer(payload, np.uint8), position)
    codes = [reader.read_code(levels, item_size) for _ in range(classes)]
    return _joined(codes), reader.position


def _joined(codes: list[tuple[Bytes, npt.NDArray[np.uint16]]]) -> ClassCodes:
    return ClassCodes(
        np.array([lengths.size for lengths, _ in codes], np.int64),
        np.array([members.shape[1] for _, members in codes], np.int64),
        np.array([np.count_nonzero(lengths) > 1 for lengths, _ in codes]),
        np.concatenate([lengths for lengths, _ in codes]),
        np.concatenate([members.reshape(-1) for _, members in codes]),
    )


class _TableReader:
    """A position in a payload that moves on from field to field of tables."""

    def __init__(self, payload: Bytes, position: int) -> None:
        self.payload = payload
        self.position = position

    def read_code(self, levels: int, item_size: int) -> tuple[Bytes, npt.NDArray[np.uint16]]:
        """Lengths and members of a class's symbols."""
        flags = int(self._take(1)[0])
        require(flags <= PAIRS | BITMAP, "table flags: there are 0 to 3")
        first = self._number(0, levels - 1, "first index: it is outside the codebook")
        span = self._number(1, levels - first, "span of indices: it is outside the codebook")
        places = self._map(span, "indices in use") if flags & BITMAP else np.arange(span)
        used = (first + places).astype(np.uint16)
        members = used[:, None]
        if flags & PAIRS:
            paired = used.size <= PAIRED_LEVELS_LIMIT and item_size <= PAIRED_BYTES_LIMIT
            require(paired, "table flags: pairs are of up to 128 values of up to 4 bytes")
            pairs = self._map(used.size**2, "pairs in use")
            members = used[np.stack(np.divmod(pairs, used.size), axis=1)]
        return self._lengths(len(members)), members

    def _lengths(self, symbols: int) -> Bytes:
        alphabet = self._number(1, ALPHABET_LIMIT, "an alphabet has 1 to 4096 symbols")
        require(alphabet == symbols, "index alphabet: the symbols do not fit those in use")
        if alphabet == 1:
            return np.ones(1, np.uint8)
        lengths, size = read_lengths(self.payload[self.position :], alphabet)
        self.position += size
        return lengths

    def _number(self, low: int, high: int, outside: str) -> int:
        rest = self.payload[self.position : self.position + 3]
        if rest.size < 3 and (rest >= 0x80).all():
            raise EOFError("a table ends after the payload")
        try:
            number, self.position = read_varint(self.payload, self.position)
        except ValueError:
            raise ValueError(outside) from None
        require(low <= number <= high, outside)
        return number

    def _map(self, size: int, what: str) -> Integers:
        bits = np.unpackbits(self._take(-(-size // 8)), bitorder="little")
        places = np.flatnonzero(bits)
        usable = 0 < places.size <= ALPHABET_LIMIT and places[-1] < size
        require(usable, f"{what}: there are none, too many, or bits past the end")
        return places

    def _take(self, size: int) -> Bytes:
        taken = self.payload[self.position : self.position + size]
        if taken.size < size:
            raise EOFError("a table ends after the payload")
        self.position += size
        return taken


def find_class_segments(
    payload: Any,
    position: int,
    classes: Bytes,
    length: int,
    runs_in_block: int,
    numel: int,
    codes: ClassCodes,
) -> Integers:
    """Find the segments of all blocks and classes, which follow each other.

    Parameters
    ----------
    payload : buffer
    position : int
        Where the first segment begins, in bytes.
    classes : uint8[runs]
        The class of each run.
    length, runs_in_block : int
        Elements of a run, and runs of a block.
    numel : int
        Elements of all runs, of which the last may be shorter.
    codes : ClassCodes

    Returns
    -------
    int64[blocks * classes + 1]
        Where each segment begins, block by block, and where the last one ends, in bytes.

    Raises
    ------
    EOFError, ValueError
        As `read_class_codes`.
    """
    kinds = len(codes.alphabets)
    check_runs(classes, length, runs_in_block, numel, kinds)
    require(0 <= position <= len(payload), "a segment is outside the payload")
    found = [position]
    for own in _blocks(classes, length, runs_in_block, numel):
        counts = np.bincount(own, minlength=kinds)
        for k, symbols in enumerate((-(-counts // codes.widths)).tolist()):
            own_segment = payload, found[-1], np.array([symbols]), [bool(codes.coded[k])]
            found.append(int(find_segments(*own_segment)[-1]))
    return np.array(found, np.int64)


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
    """Decode runs that are in classes, each with a code of its own.

    The elements of a class's runs fill whole symbols; what is left over of the last is dropped.

    Parameters
    ----------
    payload : buffer
    offsets : int64[blocks, classes]
        Where each segment begins in the payload, in bytes.
    classes : uint8[runs]
        The class of each run.
    length, runs_in_block : int
        Elements of a run, and runs of a block.
    codes : ClassCodes
    values : array[elements of all symbols]
        What `codes.members` are, in the dtype that is decoded.
    out : array[n]
        Receives the elements, of which the last run may have fewer.
    digests : uint64[digest_count(out.nbytes)], optional
        Receives the digest of each chunk of `out`; see `write_digests`.

    Raises
    ------
    ValueError
        If the arguments do not fit together or the payload is not well-formed.
    """
    check_output(out)
    kinds = len(codes.alphabets)
    check_runs(classes, length, runs_in_block, len(out), kinds)
    check_values(values, codes, out)
    each = checked_offsets(offsets, len(classes), runs_in_block, kinds)
    target = out.view(f"u{out.itemsize}")
    start = 0
    for offset, own in zip(each, _blocks(classes, length, runs_in_block, len(out)), strict=True):
        place = target[start : start + own.size]
        start += own.size
        member = 0
        for k, (lengths, members) in enumerate(codes.each()):
            chosen = own == k
            part = values.view(target.dtype)[member : member + members.size]
            member += members.size
            width = members.shape[1]
            place[chosen] = _decode_class(
                payload, offset[k : k + 1], int(chosen.sum()), lengths, width, part
            )
    if digests is not None:
        write_digests(out, digests)


def _decode_class(
    payload: Any, offset: Integers, elements: int, lengths: Bytes, width: int, values: Array
) -> Array:
    """Elements of one class in one block, as unsigned integers."""
    item_size = values.itemsize
    symbols = values.view(f"u{item_size * width}")
    count = -(-elements // width)
    out = np.empty(count, symbols.dtype)
    decode_dense(payload, offset, np.array([count]), lengths, symbols, out)
    return out.view(f"u{item_size}")[:elements]


def _blocks(classes: Bytes, length: int, runs_in_block: int, numel: int) -> Iterator[Bytes]:
    """For each block the class of each of its elements."""
    length = min(length, max(numel, 1))
    for first in range(0, len(classes), runs_in_block):
        of_elements = np.repeat(classes[first : first + runs_in_block], length)
        yield of_elements[: numel - first * length]
