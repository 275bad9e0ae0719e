"""Coding by classes: dense coding in which every class of runs has a code of its own.

A symbol of a class's code is one index or, where that is shorter, a pair of neighbouring ones:
pairs reach fractions of a bit and see that neighbours are alike, at one look-up for two weights.

Payload: codebook, runs and their classes, code tables, then for each block of runs one segment for
each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np

from dcz.codec import huffman, kernels
from dcz.codec.class_table import ClassTable
from dcz.codec.codebook import read_codebooks, write_codebooks
from dcz.codec.entropy import StreamStatistics, entropy_bits, fixed_bits
from dcz.codec.errors import CorruptError, corrupt
from dcz.codec.frame import (
    AnyArray,
    Description,
    Frame,
    Member,
    Parts,
    SharedTensor,
    count_nonzero,
    is_floating,
    moments,
    patterns,
)
from dcz.codec.grid import GridBook, GridTensor
from dcz.codec.huffman import MAX_ALPHABET, Lengths
from dcz.codec.kernels import PAIRED_BYTES_LIMIT, Digests
from dcz.codec.runs import (
    BLOCK,
    Runs,
    by_class,
    find_runs,
    segment_sizes,
)
from dcz.codec.segments import (
    Offsets,
    decode_symbols,
    pieces,
    takes_bits,
)
from dcz.codec.stepped import SteppedTensor
from dcz.codec.varint import Cursor

CODER = 4
# Blocks whose symbols are held in memory at a time, where they are only counted.
AT_ONCE = 2
VALUES, GRID = 0, 1
# Longer codes would gain little, and their table would leave the nearest cache.
PAIR_LENGTH_LIMIT = 14
SEGMENT_BYTES = 20


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
        symbols = np.concatenate(self.segments)
        starts = np.cumsum([0, *(segment.size for segment in self.segments)])
        data, at = kernels.encode_segments(symbols, starts, self.table.lengths)
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
    places = _ranks(used, counts.size)
    ranks = [places[segment] for segment in segments]
    table = ClassTable(used, None, huffman.code_lengths(counts[used]))
    single = ClassStream(table, ranks, counts[used], 0)
    paired = 1 < used.size <= kernels.PAIRED_LEVELS_LIMIT
    if not paired or item_size > kernels.PAIRED_BYTES_LIMIT:
        return single
    pairs = _make_pairs(used, ranks)
    if pairs is None or pairs.size_estimate >= single.size_estimate:
        return single
    return pairs


def _make_pairs(used: Offsets, ranks: Sequence[AnyArray]) -> ClassStream | None:
    """The code for pairs of ranks; an odd one out is paired with rank 0. None for too many."""
    padding = sum(segment.size % 2 for segment in ranks)
    even = [np.pad(segment, (0, segment.size % 2)) for segment in ranks]
    symbols = [pair[0::2] * np.uint16(used.size) + pair[1::2] for pair in even]
    counts = kernels.count_symbols(np.concatenate(symbols), used.size**2)
    pairs = np.flatnonzero(counts)
    if pairs.size > MAX_ALPHABET:
        return None
    lengths = kernels.code_lengths(counts[pairs], PAIR_LENGTH_LIMIT)
    places = _ranks(pairs, counts.size)
    table = ClassTable(used, pairs, lengths)
    return ClassStream(table, [places[part] for part in symbols], counts[pairs], padding)


def _ranks(used: Offsets, size: int) -> AnyArray:
    """For each of `size` numbers how many of those in use are smaller: uint16[size]."""
    ranks = np.zeros(size, np.uint16)
    ranks[used] = np.arange(used.size)
    return ranks


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
            CODER, payload, describe_layout(layout, counts, bits, self.runs, self.tensor.codebook)
        )


def encode(tensor: SharedTensor, shape: tuple[int, ...]) -> Frame:
    """Code a tensor by classes; see `draft`."""
    runs = runs_of(tensor, shape)
    if tensor.indices.size > BLOCK:
        return draft_runs(tensor, runs).encode()
    levels, may_pair = tensor.codebook.size, tensor.codebook.itemsize <= PAIRED_BYTES_LIMIT
    coded = [
        kernels.code_class(own, levels, may_pair=may_pair)
        for own in by_class(tensor.indices, runs)[0]
    ]
    book, class_map = _write_book(tensor), runs.encode()
    tables = b"".join(each.table for each in coded)
    data = b"".join(each.segment for each in coded)
    layout = Layout(len(book), len(class_map), len(tables), len(data))
    counts = coded[0].counts if len(coded) == 1 else np.sum([c.counts for c in coded], axis=0)
    bits = sum(each.bits for each in coded)
    described = partial(describe_layout, layout, counts, bits, runs, tensor.codebook)
    least = tensor.codebook.nbytes + sum(each.least for each in coded)
    return Frame(CODER, b"".join((book, class_map, tables, data)), described, least)


def codable(tensor: SharedTensor) -> bool:
    """Whether a tensor is within what this coder can hold: some elements, not too many levels."""
    return tensor.indices.size > 0 and 1 <= tensor.codebook.size <= MAX_ALPHABET


def draft(tensor: SharedTensor, shape: tuple[int, ...]) -> Draft:
    """Put the runs of a tensor into classes and make their codes.

    A tensor shared by grids keeps the classes that its levels were chosen for.

    Parameters
    ----------
    tensor : SharedTensor
        With at least one element and at most 4,096 levels.
    shape : tuple of int
        Of the tensor.
    """
    return draft_runs(tensor, runs_of(tensor, shape))


def runs_of(tensor: SharedTensor, shape: tuple[int, ...]) -> Runs:
    """The classes that a tensor's levels were chosen for, or those that suit its indices."""
    if isinstance(tensor, GridTensor | SteppedTensor):
        return tensor.runs
    return find_runs(tensor.indices, tensor.codebook.size, shape)


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
    return Draft(tensor, runs, _write_book(tensor), runs.encode(), tuple(streams))


def _write_book(tensor: SharedTensor) -> bytes:
    if isinstance(tensor, GridTensor):
        return bytes([GRID]) + tensor.book.encode()
    return bytes([VALUES]) + write_codebooks([tensor.codebook])


def _read_book(cursor: Cursor, member: Member) -> AnyArray:
    kind = cursor.byte("codebook kind")
    if kind not in (VALUES, GRID):
        raise CorruptError(f"codebook kind: {kind} is neither 0 nor 1")
    if kind == VALUES:
        (book,) = read_codebooks(cursor, [member])
    elif is_floating(member.dtype):
        book = GridBook.decode(cursor).values(member.dtype)
    else:
        raise CorruptError(f"codebook kind: a grid of {member.dtype} elements")
    if not 1 <= book.size <= MAX_ALPHABET:
        raise CorruptError(f"codebook levels: {book.size} is outside 1 to {MAX_ALPHABET}")
    return book


class Decoder:
    """Decodes a frame of classes; see `FrameDecoder`."""

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        if len(members) != 1 or members[0].numel == 0:
            raise CorruptError("a frame of classes has one tensor, which is not empty")
        self.payload = payload
        self.member = members[0]
        self.codebook = _read_book(cursor, self.member)
        map_start = cursor.position
        self.runs = Runs.decode(cursor, self.member.numel)
        table_start, kinds = cursor.position, self.runs.count
        with corrupt("class tables"):
            self.codes, table_end = kernels.read_class_codes(
                payload, table_start, kinds, self.codebook.size, self.codebook.itemsize
            )
        self.values = patterns(self.codebook)[self.codes.members]
        self.unit = self.runs.runs_in_block * self.runs.length
        offsets = self._find_segments(table_end)
        # Where each segment begins: int64[blocks, classes].
        self.offsets = offsets[:-1].reshape(-1, kinds)
        cursor.position = int(offsets[-1])
        self.ends = map_start, table_start, table_end, cursor.position
        cursor.finish("frame")

    def _find_segments(self, position: int) -> Offsets:
        runs = self.runs
        with corrupt("index segments"):
            return kernels.find_class_segments(
                self.payload,
                position,
                runs.classes,
                runs.length,
                runs.runs_in_block,
                self.member.numel,
                self.codes,
            )

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        blocks = slice(start // self.unit, -(-stop // self.unit))
        length = self.runs.length
        with corrupt("index"):
            kernels.decode_runs(
                self.payload,
                self.offsets[blocks],
                self.runs.classes[start // length : -(-stop // length)],
                length,
                self.runs.runs_in_block,
                self.codes,
                self.values,
                patterns(out),
                digests,
            )


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a payload's parts, in bytes."""

    codebook: int
    class_map: int
    tables: int
    segments: int


def describe_layout(
    layout: Layout, counts: Offsets, bits: int, runs: Runs, codebook: Any
) -> Description:
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
        moments=(moments(codebook, counts),),
    )


def describe_classes(frame: Decoder) -> Description:
    """Sizes and entropies of the index stream; decodes every symbol."""
    counts = np.zeros(frame.codebook.size, np.int64)
    bits = 0
    elements = segment_sizes(frame.runs, frame.member.numel)
    for k, (lengths, members) in enumerate(frame.codes.each()):
        own, fillers = _count_symbols(frame, k, lengths, members, elements[:, k])
        np.add.at(counts, members, own[:, None])
        np.subtract.at(counts, fillers, 1)
        bits += payload_bits(own, lengths)
    sizes = np.diff((0, *frame.ends)).tolist()
    return describe_layout(Layout(*sizes), counts, bits, frame.runs, frame.codebook)


def _count_symbols(
    frame: Decoder, k: int, lengths: Lengths, members: AnyArray, elements: Offsets
) -> tuple[Offsets, AnyArray]:
    """How often each symbol of class k occurs, and what fills its last pairs.

    `elements` tells how many there are in each block.
    """
    width = members.shape[1]
    found, fillers = np.zeros(lengths.size, np.int64), []
    for piece in pieces(0, len(elements), AT_ONCE):
        sizes = -(-elements[piece] // width)
        symbols = decode_symbols(frame.payload, frame.offsets[piece, k], sizes, lengths, "index")
        found += kernels.count_symbols(symbols, lengths.size)
        filled = elements[piece] % width > 0
        fillers.append(members[symbols[np.cumsum(sizes)[filled] - 1], -1])
    return found, np.concatenate(fillers)
