"""Coding by classes: dense coding in which every class of runs has a code of its own.

A symbol of a class's code is one index or, where that is shorter, a pair of neighbouring ones:
pairs reach fractions of a bit and see that neighbours are alike, at one look-up for two weights.

Payload: codebook, runs and their classes, code tables, then for each block of runs one segment for
each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from dcz.codec import huffman, kernels
from dcz.codec.codebook import read_codebooks, write_codebooks
from dcz.codec.entropy import StreamStatistics, entropy_bits, fixed_bits
from dcz.codec.errors import CorruptError
from dcz.codec.frame import (
    AnyArray,
    Description,
    Frame,
    Member,
    Parts,
    SharedTensor,
    count_nonzero,
    patterns,
)
from dcz.codec.grid import GridBook, GridTensor
from dcz.codec.huffman import MAX_ALPHABET, Lengths
from dcz.codec.runs import BLOCK, MAX_CLASSES, Runs, find_runs, one_class
from dcz.codec.segments import (
    Offsets,
    as_offsets,
    block_counts,
    corrupt,
    decode_symbols,
    skip_segment,
    takes_bits,
)
from dcz.codec.varint import Cursor, encode_varint

CODER = 4
VALUES, GRID = 0, 1
PAIRS, BITMAP = 1, 2
MOST_PAIRED_LEVELS = 128
# Longer codes would gain little, and their table would leave the nearest cache.
PAIR_LENGTH_LIMIT = 14
SEGMENT_BYTES = 20


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The code of a class, for single indices or for pairs.

    Attributes
    ----------
    used : int64[n]
        The indices that have symbols, ascending.
    width : int
        Indices in a symbol, 1 or 2; a pair of the i-th and the j-th is symbol i * n + j.
    lengths : uint8[n**width]
        Code lengths, in bits.
    """

    used: Offsets
    width: int
    lengths: Lengths

    def encode(self) -> bytes:
        """The table as a frame holds it."""
        first, span = int(self.used[0]), int(self.used[-1] - self.used[0]) + 1
        full = self.used.size == span
        bits = np.zeros(span, np.uint8)
        bits[self.used - first] = 1
        return (
            bytes([(self.width == 2) * PAIRS + (not full) * BITMAP])
            + encode_varint(first)
            + encode_varint(span)
            + (b"" if full else np.packbits(bits, bitorder="little").tobytes())
            + huffman.encode_table(self.lengths)
        )

    @classmethod
    def decode(cls, cursor: Cursor, levels: int) -> ClassTable:
        """Read a table for a codebook of so many levels. Raises CorruptError."""
        flags = cursor.byte("table flags")
        if flags > PAIRS | BITMAP:
            raise CorruptError(f"table flags: {flags} is over {PAIRS | BITMAP}")
        first = cursor.varint("first index", high=levels - 1)
        span = cursor.varint("span of indices", low=1, high=levels - first)
        used = first + (_read_bitmap(cursor, span) if flags & BITMAP else np.arange(span))
        width = 2 if flags & PAIRS else 1
        largest = MOST_PAIRED_LEVELS**2 if width == 2 else MAX_ALPHABET
        lengths = huffman.decode_table(cursor, "index", largest)
        if lengths.size != used.size**width:
            raise CorruptError(f"index alphabet: {lengths.size} symbols for {used.size} indices")
        if np.count_nonzero(lengths) > MAX_ALPHABET:
            raise CorruptError(f"index code lengths: over {MAX_ALPHABET} symbols in use")
        return cls(used, width, lengths)

    @property
    def coded(self) -> Offsets:
        """The symbols that have a code; the kernels see only these."""
        return np.flatnonzero(self.lengths)

    def symbols(self, indices: AnyArray) -> AnyArray:
        """Symbols of the class's indices; an odd one out gets the first for its mate."""
        ranks = np.zeros(int(self.used[-1]) + 1, np.uint16)
        ranks[self.used] = np.arange(self.used.size)
        own = ranks[indices]
        if self.width == 1:
            return own
        if own.size % 2:
            own = np.append(own, np.uint16(0))
        return own[0::2] * np.uint16(self.used.size) + own[1::2]

    def add_counts(self, counts: Offsets, padding: int, total: Offsets) -> None:
        """Add to `total` how often each index occurs, by the counts of symbols."""
        if self.width == 1:
            total[self.used] += counts
            return
        pairs = counts.reshape(self.used.size, self.used.size)
        total[self.used] += np.sum(pairs, axis=0) + np.sum(pairs, axis=1)
        total[self.used[0]] -= padding

    def code(self, codebook: AnyArray) -> kernels.ClassCode:
        """The code of the symbols in use, with their values."""
        values = codebook[self.used]
        if self.width == 1:
            values = values[self.coded]
        if self.width == 2:
            pairs = np.empty((values.size, values.size, 2), values.dtype)
            pairs[..., 0], pairs[..., 1] = values[:, None], values
            values = pairs.reshape(-1, 2)[self.coded].reshape(-1)
        return kernels.ClassCode(self.lengths[self.coded], self.width, patterns(values))


def _read_bitmap(cursor: Cursor, span: int) -> Offsets:
    coded = np.frombuffer(cursor.take(-(-span // 8), "indices in use"), np.uint8)
    bits = np.unpackbits(coded, bitorder="little")
    if not bits[0] or not bits[span - 1] or bits[:span].all() or bits[span:].any():
        raise CorruptError("indices in use: the first and the last must be, and one must not")
    return np.flatnonzero(bits)


def segment_sizes(runs: Runs, numel: int) -> Offsets:
    """How many elements each class has in each block: int64[blocks, classes]."""
    blocks = np.arange(runs.classes.size) // runs.runs_in_block
    places = blocks * runs.count + runs.classes
    sizes = runs.length * np.bincount(places, minlength=(blocks[-1] + 1) * runs.count)
    sizes[places[-1]] -= -numel % runs.length
    return np.asarray(sizes.reshape(-1, runs.count), np.int64)


def by_class(indices: AnyArray, runs: Runs) -> list[list[AnyArray]]:
    """The indices of every class in every block: result[block][class]."""
    found = []
    for block, sizes in enumerate(segment_sizes(runs, indices.size)):
        first = block * runs.runs_in_block
        classes = runs.classes[first : first + runs.runs_in_block]
        part = indices[first * runs.length :][: classes.size * runs.length]
        if runs.count == 1:
            found.append([part])
            continue
        rows = np.resize(part, classes.size * runs.length).reshape(-1, runs.length)
        own = [rows[classes == k].reshape(-1)[:size] for k, size in enumerate(sizes.tolist())]
        found.append(own)
    return found


@dataclass(frozen=True)
class ClassStream:
    """One class of a tensor with the code made for it.

    Attributes
    ----------
    table : ClassTable
    segments : sequence of uint16 array
        Its symbols, block by block.
    counts : int64[alphabet]
        Of its symbols.
    padding : int
        Indices that were added to fill pairs.
    """

    table: ClassTable
    segments: Sequence[AnyArray]
    counts: Offsets
    padding: int

    @property
    def payload_bits(self) -> int:
        """Size of the coded symbols without framing."""
        return payload_bits(self.counts, self.table.lengths)

    @cached_property
    def size_estimate(self) -> int:
        """Bytes of table and coded symbols, with about what frames its segments."""
        framing = SEGMENT_BYTES * len(self.segments) if takes_bits(self.table.lengths) else 0
        return len(self.table.encode()) + -(-self.payload_bits // 8) + framing

    def encode(self) -> list[bytes]:
        """The coded segments."""
        ranks = np.cumsum(self.table.lengths > 0).astype(np.uint16) - np.uint16(1)
        symbols = ranks[np.concatenate(self.segments)]
        starts = np.cumsum([0, *(segment.size for segment in self.segments)])
        data, at = kernels.encode_segments(symbols, starts, self.table.lengths[self.table.coded])
        return [data[begin:end] for begin, end in pairwise(at.tolist())]


def payload_bits(counts: Offsets, lengths: Lengths) -> int:
    """Bits of coded symbols."""
    return int(np.sum(counts * lengths)) if takes_bits(lengths) else 0


def make_class(segments: Sequence[AnyArray], counts: Offsets, item_size: int) -> ClassStream:
    """Make the shorter code of those for single indices and for pairs.

    Parameters
    ----------
    segments : sequence of unsigned integer array
        The class's indices, block by block.
    counts : int64[levels of the codebook]
        Of these indices.
    item_size : int
        Bytes of a value; pairs have 8 at most.
    """
    used = np.flatnonzero(counts)
    own = counts[used]
    single = ClassStream(ClassTable(used, 1, huffman.code_lengths(own)), segments, own, 0)
    if used.size > MOST_PAIRED_LEVELS or item_size > 4 or used.size == 1:
        return _coded(single)
    paired = [ClassTable(used, 2, own).symbols(segment) for segment in segments]
    pair_counts = kernels.count_symbols(np.concatenate(paired), used.size**2)
    occur = np.flatnonzero(pair_counts)
    if occur.size > MAX_ALPHABET:
        return _coded(single)
    lengths = np.zeros(used.size**2, np.uint8)
    lengths[occur] = kernels.code_lengths(pair_counts[occur], PAIR_LENGTH_LIMIT)
    padding = sum(segment.size % 2 for segment in segments)
    pairs = ClassStream(ClassTable(used, 2, lengths), paired, pair_counts, padding)
    return pairs if pairs.size_estimate < single.size_estimate else _coded(single)


def _coded(single: ClassStream) -> ClassStream:
    segments = [single.table.symbols(segment) for segment in single.segments]
    return ClassStream(single.table, segments, single.counts, 0)


@dataclass(frozen=True, slots=True)
class Draft:
    """A shared tensor ready to be coded by classes: codes are made, bits are not yet written.

    Attributes
    ----------
    tensor : SharedTensor
    runs : Runs
    codebook, class_map : bytes
        The codebook, and the runs with their classes, as the frame holds them.
    streams : tuple of ClassStream
    """

    tensor: SharedTensor
    runs: Runs
    codebook: bytes
    class_map: bytes
    streams: tuple[ClassStream, ...]

    @property
    def size(self) -> int:
        """Bytes that `encode` will give, to within the padding of its segments."""
        own = sum(stream.size_estimate for stream in self.streams)
        return len(self.codebook) + len(self.class_map) + own

    def encode(self) -> Frame:
        """Write the frame."""
        tables = b"".join(stream.table.encode() for stream in self.streams)
        coded = [stream.encode() for stream in self.streams]
        data = b"".join(b"".join(block) for block in zip(*coded, strict=True))
        counts = np.zeros(self.tensor.codebook.size, np.int64)
        for stream in self.streams:
            stream.table.add_counts(stream.counts, stream.padding, counts)
        bits = sum(stream.payload_bits for stream in self.streams)
        layout = Layout(len(self.codebook), len(self.class_map), len(tables), len(data))
        payload = self.codebook + self.class_map + tables + data
        return Frame(
            CODER, payload, describe(layout, counts, bits, self.runs, self.tensor.codebook)
        )


def codable(tensor: SharedTensor) -> bool:
    """Whether a tensor is within what this coder can hold: some elements, not too many levels."""
    return tensor.indices.size > 0 and 1 <= tensor.codebook.size <= MAX_ALPHABET


def draft(tensor: SharedTensor, shape: tuple[int, ...]) -> Draft:
    """Put the runs of a tensor into classes and make their codes.

    A tensor shared by a grid keeps the classes that its levels were chosen for.

    Parameters
    ----------
    tensor : SharedTensor
        With at least one element and at most 4,096 levels.
    shape : tuple of int
        Of the tensor.
    """
    levels = tensor.codebook.size
    if isinstance(tensor, GridTensor):
        return draft_runs(tensor, tensor.runs)
    return draft_runs(tensor, find_runs(tensor.indices, levels, shape))


def draft_runs(tensor: SharedTensor, runs: Runs) -> Draft:
    """Make the codes of given classes."""
    counts = kernels.count_runs(
        tensor.indices, runs.length, runs.groups, runs.count, tensor.codebook.size
    )
    blocks = by_class(tensor.indices, runs)
    item_size = tensor.codebook.dtype.itemsize
    streams = [
        make_class([block[k] for block in blocks], counts[k], item_size) for k in range(runs.count)
    ]
    return Draft(tensor, runs, _write_book(tensor), _write_runs(runs), tuple(streams))


def _write_book(tensor: SharedTensor) -> bytes:
    if isinstance(tensor, GridTensor):
        return bytes([GRID]) + tensor.book.encode()
    return bytes([VALUES]) + write_codebooks([tensor.codebook])


def _write_runs(runs: Runs) -> bytes:
    """Number of classes; if they are several, run length and the classes themselves."""
    if runs.count == 1:
        return bytes([1])
    head = bytes([runs.count]) + encode_varint(runs.length)
    lengths = huffman.code_lengths(kernels.count_symbols(runs.classes, runs.count))
    starts = np.concatenate(([0], np.cumsum(block_counts(runs.classes.size, BLOCK))))
    return (
        head
        + huffman.encode_table(lengths)
        + kernels.encode_segments(runs.classes, starts, lengths)[0]
    )


def _read_book(cursor: Cursor, member: Member) -> AnyArray:
    kind = cursor.byte("codebook kind")
    if kind not in (VALUES, GRID):
        raise CorruptError(f"codebook kind: {kind} is neither 0 nor 1")
    if kind == VALUES:
        (book,) = read_codebooks(cursor, [member])
    else:
        book = GridBook.decode(cursor).values(member.dtype)
    if not 1 <= book.size <= MAX_ALPHABET:
        raise CorruptError(f"codebook levels: {book.size} is outside 1 to {MAX_ALPHABET}")
    return book


def _read_runs(cursor: Cursor, numel: int) -> Runs:
    count = cursor.byte("classes")
    if count == 1:
        return one_class(numel)
    if not 2 <= count <= MAX_CLASSES:
        raise CorruptError(f"classes: {count} is outside 1 to {MAX_CLASSES}")
    length = cursor.varint("run length", low=1, high=BLOCK)
    number = -(-numel // length)
    lengths = huffman.decode_table(cursor, "class")
    if lengths.size != count:
        raise CorruptError(f"class alphabet: {lengths.size} symbols for {count} classes")
    coded = takes_bits(lengths)
    counts = block_counts(number, BLOCK)
    offsets = [
        skip_segment(cursor, count, coded=coded, what="class segment") for count in counts.tolist()
    ]
    classes = decode_symbols(cursor.data, as_offsets(offsets), counts, lengths, "class").astype(
        np.uint8
    )
    if np.count_nonzero(np.bincount(classes, minlength=count)) < count:
        raise CorruptError("class: one has no run")
    return Runs(length, classes)


class Decoder:
    """Decodes a frame of classes; see `FrameDecoder`."""

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        if len(members) != 1 or members[0].numel == 0:
            raise CorruptError("a frame of classes has one tensor, which is not empty")
        self.payload = payload
        self.member = members[0]
        self.codebook = _read_book(cursor, self.member)
        book_bytes = cursor.position
        self.runs = _read_runs(cursor, self.member.numel)
        map_bytes = cursor.position - book_bytes
        tables = [ClassTable.decode(cursor, self.codebook.size) for _ in range(self.runs.count)]
        if any(t.width * self.member.dtype.itemsize > 8 for t in tables):
            raise CorruptError("index width: a pair of elements has more than 8 bytes")
        self.tables = tables
        table_bytes = cursor.position - book_bytes - map_bytes
        self.unit = self.runs.runs_in_block * self.runs.length
        widths = np.array([table.width for table in tables])
        self.counts = -(-segment_sizes(self.runs, self.member.numel) // widths)
        self.offsets = self._find_segments(cursor)
        segment_bytes = cursor.position - book_bytes - map_bytes - table_bytes
        self.layout = Layout(book_bytes, map_bytes, table_bytes, segment_bytes)
        cursor.finish("frame")

    def _find_segments(self, cursor: Cursor) -> Offsets:
        coded = [takes_bits(table.lengths) for table in self.tables]
        offsets = np.empty_like(self.counts)
        for block, counts in enumerate(self.counts.tolist()):
            for k, count in enumerate(counts):
                offsets[block, k] = skip_segment(
                    cursor, count, coded=coded[k], what="index segment"
                )
        return offsets

    def decode(self, start: int, stop: int, out: AnyArray) -> None:
        """Decode elements start to stop into `out`."""
        if out.size == 0:
            return
        blocks = slice(start // self.unit, -(-stop // self.unit))
        length = self.runs.length
        with corrupt("index"):
            kernels.decode_runs(
                self.payload,
                self.offsets[blocks],
                self.runs.classes[start // length : -(-stop // length)],
                length,
                self.runs.runs_in_block,
                [table.code(self.codebook) for table in self.tables],
                patterns(out),
            )

    def describe(self) -> Description:
        """Sizes and entropies of the index stream."""
        counts = np.zeros(self.codebook.size, np.int64)
        elements = segment_sizes(self.runs, self.member.numel)
        bits = 0
        for k, table in enumerate(self.tables):
            lengths = table.lengths[table.coded]
            symbols = decode_symbols(
                self.payload, self.offsets[:, k], self.counts[:, k], lengths, "index"
            )
            own = np.zeros(table.lengths.size, np.int64)
            own[table.coded] = kernels.count_symbols(symbols, lengths.size)
            padding = int(np.sum(self.counts[:, k] * table.width - elements[:, k]))
            table.add_counts(own, padding, counts)
            bits += payload_bits(own, table.lengths)
        return describe(self.layout, counts, bits, self.runs, self.codebook)


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a payload's parts, in bytes."""

    codebook: int
    class_map: int
    tables: int
    segments: int


def describe(layout: Layout, counts: Offsets, bits: int, runs: Runs, codebook: Any) -> Description:
    """What a frame holds, given how often each index occurs and the bits of all symbols."""
    parts = Parts()
    parts.add("codebooks", layout.codebook)
    parts.add("tables", layout.class_map + layout.tables)
    parts.add("indices", layout.segments)
    symbols, entropy = int(counts.sum()), entropy_bits(counts)
    stream = StreamStatistics(
        stream="index",
        symbols=symbols,
        alphabet=int(counts.size),
        fixed_bits=fixed_bits(symbols, int(counts.size)),
        entropy_bits=entropy,
        kl_bits=bits - entropy,
        table_bits=8 * (layout.class_map + layout.tables),
        framing_bits=8 * layout.segments - bits,
    )
    return Description(
        parts=parts.sizes,
        streams=(stream,),
        levels=(int(codebook.size),),
        nonzero=(count_nonzero(codebook, counts),),
    )
