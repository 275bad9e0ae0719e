"""Decoding of streams in NumPy, in lock step.

One look-up per stream is all that can be done at a time, as the next one begins where its code
ends. So the decoder moves through the streams of many segments together: each step is a handful
of array operations over thousands of streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...coding_arguments import MANY_STREAMS_FROM, STREAMS, Bytes, Integers, integer_array, require
from .codes import decoding_table
from .segments import read_varint

_HEADER_BYTES = 2 * STREAMS
_WORD_STEP_BITS = 16
_GROUP_SYMBOLS = 3 << 23


def decode_segments(
    payload: Any, offsets: Integers, counts: Integers, lengths: Bytes
) -> Iterator[tuple[int, int, npt.NDArray[np.uint16]]]:
    """Decode segments, a group at a time.

    Yields the number of the group's first segment, that of the segment after its last, and the
    symbols of all of them. Raises a ValueError where the payload is not well-formed.
    """
    buffer = np.frombuffer(payload, dtype=np.uint8)
    offsets = integer_array(offsets)
    counts = integer_array(counts)
    require(len(offsets) == len(counts), "offsets and counts differ in number")
    outside = (offsets < 0) | (offsets > len(buffer))
    require(not outside.any(), "a segment is outside the payload")
    if not counts.any():
        return
    table = decoding_table(lengths)
    if np.count_nonzero(lengths) == 1:
        symbol = np.uint16(np.flatnonzero(lengths)[0])
        for first, last in segment_groups(counts, _GROUP_SYMBOLS):
            yield first, last, np.full(int(counts[first:last].sum()), symbol)
        return
    for first, last in segment_groups(counts, _GROUP_SYMBOLS):
        segments = zip(offsets[first:last].tolist(), counts[first:last].tolist(), strict=True)
        yield first, last, _decode_group(buffer, list(segments), table)


def segment_groups(counts: Integers, limit: int) -> Iterator[tuple[int, int]]:
    """Cut some segments into groups whose streams, all as long as the longest, stay under `limit`.

    A segment that is over it alone is a group of its own. Segments without symbols, which have no
    streams, go with others: if there are any symbols, each group has some.
    """
    first = streams = longest = 0
    for segment, count in enumerate(counts.tolist()):
        own = _streams_in(count)
        rounds = -(-count // max(own, 1))
        if own and streams and (streams + own) * max(longest, rounds) > limit:
            yield first, segment
            first, streams, longest = segment, 0, 0
        streams, longest = streams + own, max(longest, rounds)
    yield first, len(counts)


def _streams_in(count: int) -> int:
    """How many streams a segment of so many symbols has: none, one or eight."""
    return STREAMS if count >= MANY_STREAMS_FROM else min(count, 1)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Where a stream of bits begins, its size in bytes and how many symbols it holds."""

    start: int
    size: int
    count: int


def _decode_group(
    buffer: Bytes, segments: list[tuple[int, int]], table: npt.NDArray[np.uint16]
) -> npt.NDArray[np.uint16]:
    streams: list[_Stream] = []
    for offset, count in segments:
        streams += _read_header(buffer, offset, count)
    counts = np.array([stream.count for stream in streams])
    order = np.argsort(-counts, kind="stable")
    column = np.empty(len(order), dtype=np.int64)
    column[order] = np.arange(len(order))
    entries = _lock_step(buffer, [streams[i] for i in order.tolist()], table)
    entries >>= 4
    symbols = np.empty(sum(count for _, count in segments), dtype=np.uint16)
    stream = filled = 0
    for _, count in segments:
        own = _streams_in(count)
        rounds = -(-count // max(own, 1))
        columns = _run(column[stream : stream + own])
        symbols[filled : filled + count] = entries[:rounds, columns].reshape(-1)[:count]
        stream, filled = stream + own, filled + count
    return symbols


def _run(columns: Integers) -> Any:
    """The columns as a slice (which copies faster) where they are consecutive."""
    if len(columns) == 0 or (np.diff(columns) != 1).any():
        return columns
    return slice(int(columns[0]), int(columns[-1]) + 1)


def _read_header(buffer: Bytes, offset: int, count: int) -> list[_Stream]:
    """The streams of the segment of `count` symbols at `offset`."""
    if count == 0:
        return []
    if count < MANY_STREAMS_FROM:
        size, start = read_varint(buffer, offset)
        require(size <= len(buffer) - start, "a stream ends after the payload")
        return [_Stream(start, size, count)]
    start = offset + _HEADER_BYTES
    require(start <= len(buffer), "a segment's header ends after the payload")
    streams = []
    for i, size in enumerate(buffer[offset:start].view("<u2").tolist()):
        require(size <= len(buffer) - start, "a stream ends after the payload")
        streams.append(_Stream(start, size, (count + STREAMS - 1 - i) // STREAMS))
        start += size
    return streams


def _lock_step(
    buffer: Bytes, streams: list[_Stream], table: npt.NDArray[np.uint16]
) -> npt.NDArray[np.uint16]:
    """Decode streams given by descending count: their table entries, one column a stream."""
    counts = np.array([stream.count for stream in streams])
    begin = min(stream.start for stream in streams)
    end = max(stream.start + stream.size for stream in streams)
    words = _overlapping_words(buffer[begin:end])
    position = np.array([8 * (stream.start - begin) for stream in streams])
    limit = position + np.array([8 * stream.size for stream in streams])
    entries = np.empty((int(counts[0]), len(streams)), dtype=np.uint16)
    bits = len(table).bit_length() - 1
    refill = (64 - _WORD_STEP_BITS + 1) // bits
    steps = _Steps(words, table, len(streams))
    # Streams drop out from the right as they end, so the loop stops at each distinct count.
    done = 0
    for stop in np.unique(counts).tolist():
        active = int(np.count_nonzero(counts >= stop))
        while done < stop:
            rows = entries[done : min(done + refill, stop), :active]
            steps.decode(position[:active], rows)
            done += len(rows)
    _check_ends(buffer[begin:end], position, limit)
    return entries


def _overlapping_words(buffer: Bytes) -> Integers:
    """A 64-bit word at every second byte, zeros after the end."""
    padded = np.zeros(len(buffer) // 2 + 5, dtype="<u2")
    padded.view(np.uint8)[: len(buffer)] = buffer
    overlapping = np.ndarray(len(padded) - 3, "<u8", padded.data, strides=padded.strides)
    return overlapping.astype(np.uint64).view(np.int64)


class _Steps:
    """The inner loop of the decoder, with the memory it works in."""

    def __init__(self, words: Integers, table: npt.NDArray[np.uint16], streams: int) -> None:
        self._words = words.view(np.uint64)
        self._table = table.astype(np.uint64)
        self._mask = np.uint64(len(table) - 1)
        self._scratch = np.empty((3, streams), dtype=np.uint64)

    def decode(self, position: Integers, rows: npt.NDArray[np.uint16]) -> None:
        """Decode as many symbols of each stream as there are rows, from one word a stream."""
        active = len(position)
        word, index, entry = (row[:active] for row in self._scratch)
        where = index.view(np.int64)
        reached = position.view(np.uint64)
        np.right_shift(position, 4, out=where)
        # A stream that ran past the end reads the last word; `_check_ends` will find it out.
        self._words.take(where, out=word, mode="clip")
        np.bitwise_and(reached, np.uint64(_WORD_STEP_BITS - 1), out=index)
        np.right_shift(word, index, out=word)
        for row in rows:
            np.bitwise_and(word, self._mask, out=index)
            self._table.take(where, out=entry, mode="clip")
            np.copyto(row, entry, casting="unsafe")
            np.bitwise_and(entry, np.uint64(15), out=entry)
            np.right_shift(word, entry, out=word)
            np.add(reached, entry, out=reached)


def _check_ends(buffer: Bytes, position: Integers, limit: Integers) -> None:
    """Each stream must end in its last byte, and pad it with zeros."""
    left = limit - position
    require(not ((left < 0) | (left > 7)).any(), "a stream does not end where it should")
    padded = left > 0
    padding = buffer[limit[padded] // 8 - 1] >> (8 - left[padded])
    require(not padding.any(), "a stream's padding is not zero")
