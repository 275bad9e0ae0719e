"""Writing classes of rows, each with a code of its own; `decode.row_classes` has the layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np

from ..decode.row_classes import GRID, VALUES
from ..kernels import coding, coding_arguments
from ..kernels import levels as kernels
from ..kernels.coding_arguments import BITMAP, PAIRED_BYTES_LIMIT, PAIRS
from ..report.huffman import Layout, describe_layout, payload_bits
from ..share.row_clustering import find_runs
from ..share.shared_tensor import SharedTensor
from ..share.uniform import GridTensor
from ..share.uniform_per_row import SteppedTensor
from ..wire import code_table
from ..wire.arrays import AnyArray
from ..wire.code_table import MAX_ALPHABET, Lengths
from ..wire.codebook import write_codebooks
from ..wire.coders import ROW_CLASSES
from ..wire.row_classes import BLOCK, Runs, segment_sizes
from ..wire.segments import Offsets, takes_bits
from ..wire.varint import encode_varint
from .frame import Frame


@dataclass(frozen=True, slots=True)
class ClassTable:
    """The code of a class, for single indices or for pairs.

    Attributes
    ----------
    used : int64[n]
        The indices that occur, ascending.
    pairs : int64[m] or None
        The pairs that occur, ascending: i * n + j for the i-th and the j-th of `used`. None for a
        code of single indices.
    lengths : uint8[m or n]
        Code length of each pair or index, in bits.
    """

    used: Offsets
    pairs: Offsets | None
    lengths: Lengths

    def encode(self) -> bytes:
        """The table as a frame holds it."""
        first, span = int(self.used[0]), int(self.used[-1] - self.used[0]) + 1
        full = self.used.size == span
        flags = (PAIRS if self.pairs is not None else 0) | (0 if full else BITMAP)
        head = bytes([flags]) + encode_varint(first) + encode_varint(span)
        if not full:
            head += _bitmap(self.used - first, span)
        if self.pairs is not None:
            head += _bitmap(self.pairs, self.used.size**2)
        return head + code_table.encode_table(self.lengths)

    def add_counts(self, counts: Offsets, padding: int, total: Offsets) -> None:
        """Add to `total` how often each index occurs, by the counts of symbols."""
        if self.pairs is None:
            total[self.used] += counts
            return
        for ranks in np.divmod(self.pairs, self.used.size):
            np.add.at(total, self.used[ranks], counts)
        total[self.used[0]] -= padding


def _bitmap(places: Offsets, size: int) -> bytes:
    """A bit for each of `size` places, each byte's lowest first."""
    bits = np.zeros(size, np.uint8)
    bits[places] = 1
    return np.packbits(bits, bitorder="little").tobytes()


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
        data, at = coding.encode_segments(symbols, starts, self.table.lengths)
        return [data[begin:end] for begin, end in pairwise(at.tolist())]


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
    table = ClassTable(used, None, code_table.code_lengths(counts[used]))
    single = ClassStream(table, ranks, counts[used], 0)
    paired = 1 < used.size <= coding_arguments.PAIRED_LEVELS_LIMIT
    if not paired or item_size > coding_arguments.PAIRED_BYTES_LIMIT:
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
    counts = coding.count_symbols(np.concatenate(symbols), used.size**2)
    pairs = np.flatnonzero(counts)
    if pairs.size > MAX_ALPHABET:
        return None
    lengths = coding.code_lengths(counts[pairs], PAIR_LENGTH_LIMIT)
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
            ROW_CLASSES,
            payload,
            describe_layout(layout, counts, bits, self.runs, self.tensor.codebook),
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
    return Frame(ROW_CLASSES, b"".join((book, class_map, tables, data)), described, least)


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


def by_class(indices: AnyArray, runs: Runs) -> list[list[AnyArray]]:
    """The indices of every class in every block: result[block][class]."""
    if runs.count == 1:
        size = runs.runs_in_block * runs.length
        return [[indices[at : at + size]] for at in range(0, indices.size, size)]
    found = []
    for block, sizes in enumerate(segment_sizes(runs, indices.size)):
        first = block * runs.runs_in_block
        classes = runs.classes[first : first + runs.runs_in_block]
        part = indices[first * runs.length :][: classes.size * runs.length]
        rows = np.resize(part, classes.size * runs.length).reshape(-1, runs.length)
        own = [rows[classes == k].reshape(-1)[:size] for k, size in enumerate(sizes.tolist())]
        found.append(own)
    return found
