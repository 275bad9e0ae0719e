"""Lossless coding by byte planes, for whatever must come back bit for bit.

The bytes of equal significance of all elements form a plane; the planes of floating-point numbers
are rotated by one bit first, so that the exponent fills a plane of its own. Each plane of each
chunk is kept raw, as one repeated byte, under a Huffman code or by zstandard, whichever is least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import ml_dtypes
import numpy as np
import zstandard

from dcz.codec import huffman, kernels
from dcz.codec.entropy import StreamStatistics, entropy_bits
from dcz.codec.errors import CorruptError, corrupt
from dcz.codec.frame import (
    AnyArray,
    Description,
    Digests,
    Frame,
    Member,
    Parts,
    count_nonzero,
    numel,
    patterns,
    split,
)
from dcz.codec.segments import as_offsets, find_segments, identity, takes_bits
from dcz.codec.varint import Cursor, encode_varint

CODER = 1
CHUNK = 1 << 18
SAMPLE = 1 << 14
ZSTANDARD_LEVEL = 3

RAW, CONSTANT, HUFFMAN, ZSTANDARD = range(4)
PLAIN, ROTATED = range(2)

_ROTATED_DTYPES = {np.dtype(t) for t in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)}


def encode(arrays: Sequence[AnyArray]) -> Frame:
    """Code one or more flat arrays of one dtype without loss."""
    flat = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    transform = ROTATED if flat.dtype in _ROTATED_DTYPES else PLAIN
    out = [bytes([transform])]
    statistics = _PlaneStatistics(flat.dtype.itemsize)
    for start in range(0, flat.size, CHUNK):
        for number, plane in enumerate(_split(flat[start : start + CHUNK], transform)):
            coded = _encode_plane(plane)
            statistics.add(number, plane, len(coded))
            out.append(coded)
    payload = b"".join(out)
    parts = Parts()
    parts.add("lossless", len(payload))
    nonzero = tuple(count_nonzero(array) for array in arrays)
    description = Description(parts.sizes, statistics.streams(), (0,) * len(arrays), nonzero)
    return Frame(CODER, payload, description)


def _split(chunk: AnyArray, transform: int) -> Iterator[AnyArray]:
    words = _byte_view(chunk)
    if transform == ROTATED:
        number = patterns(chunk)
        words = _byte_view(number << 1 | number >> (8 * number.itemsize - 1))
    for plane in range(words.shape[1]):
        yield np.ascontiguousarray(words[:, plane])


def _byte_view(chunk: AnyArray) -> AnyArray:
    return chunk.view(np.uint8).reshape(chunk.size, chunk.dtype.itemsize)


def _encode_plane(plane: AnyArray) -> bytes:
    counts = kernels.count_symbols(plane, 256)
    if np.count_nonzero(counts) == 1:
        return bytes([CONSTANT, plane[0]])
    coded = [(RAW, plane.tobytes()), (HUFFMAN, _encode_huffman(plane, counts))]
    if _repeats(plane):
        coded.append((ZSTANDARD, zstandard.compress(plane.data, ZSTANDARD_LEVEL)))
    method, data = min(coded, key=lambda item: (len(item[1]), item[0]))
    size = b"" if method == RAW else encode_varint(len(data))
    return bytes([method]) + size + data


def repetition(array: AnyArray) -> float:
    """What zstandard leaves of the array's first bytes, as a share of them."""
    sample = array.view(np.uint8)[:SAMPLE]
    return len(zstandard.compress(sample.data, ZSTANDARD_LEVEL)) / max(sample.size, 1)


def _repeats(plane: AnyArray) -> bool:
    """Whether zstandard finds anything in the plane's first bytes: mantissas have nothing."""
    sample = plane[:SAMPLE]
    return len(zstandard.compress(sample.data, ZSTANDARD_LEVEL)) < sample.size


def _encode_huffman(plane: AnyArray, counts: AnyArray) -> bytes:
    lengths = huffman.code_lengths(counts)
    data, _ = kernels.encode_segments(plane, as_offsets((0, plane.size)), lengths)
    return huffman.encode_table(lengths) + data


class _CodedPlane(NamedTuple):
    method: int
    data: memoryview
    symbols: int


class Decoder:
    """Decodes a frame of byte planes; see `FrameDecoder`."""

    unit = CHUNK

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        self.members = members
        self.itemsize = members[0].dtype.itemsize
        self.size = len(payload)
        self.transform = cursor.byte("plane transform")
        if self.transform not in (PLAIN, ROTATED) or (
            self.transform == ROTATED and self.itemsize not in (2, 4, 8)
        ):
            raise CorruptError(f"plane transform {self.transform} is unknown")
        total = numel(members)
        self.chunks = [
            [self._read_plane(cursor, min(CHUNK, total - start)) for _ in range(self.itemsize)]
            for start in range(0, total, CHUNK)
        ]
        cursor.finish("frame")

    @staticmethod
    def _read_plane(cursor: Cursor, symbols: int) -> _CodedPlane:
        method = cursor.byte("plane method")
        if method == CONSTANT:
            return _CodedPlane(method, cursor.take(1, "plane"), symbols)
        if method == RAW:
            return _CodedPlane(method, cursor.take(symbols, "plane"), symbols)
        if method not in (HUFFMAN, ZSTANDARD):
            raise CorruptError(f"plane method {method} is unknown")
        size = cursor.varint("plane size", low=1, high=symbols)
        return _CodedPlane(method, cursor.take(size, "plane"), symbols)

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        for number in range(start // CHUNK, -(-stop // CHUNK)):
            first = number * CHUNK
            chunk = out[first - start : min(first + CHUNK, stop) - start]
            self._decode_chunk(self.chunks[number], chunk)
        if digests is not None:
            kernels.write_digests(out, digests)

    def _decode_chunk(self, planes: list[_CodedPlane], out: AnyArray) -> None:
        words = _byte_view(out)
        for number, plane in enumerate(planes):
            words[:, number] = _METHODS[plane.method](plane)
        if self.transform == ROTATED:
            number_view = patterns(out)
            number_view[:] = number_view >> 1 | number_view << (8 * self.itemsize - 1)

    def describe(self) -> Description:
        """Sizes and order-0 entropies of the planes."""
        statistics = _PlaneStatistics(self.itemsize)
        for chunk in self.chunks:
            for number, plane in enumerate(chunk):
                statistics.add(number, _METHODS[plane.method](plane), _coded_size(plane))
        parts = Parts()
        parts.add("lossless", self.size)
        flat = np.empty(numel(self.members), self.members[0].dtype)
        self.decode(0, flat.size, flat)
        nonzero = tuple(count_nonzero(part) for part in split(flat, self.members))
        return Description(parts.sizes, statistics.streams(), (0,) * len(self.members), nonzero)


def _coded_size(plane: _CodedPlane) -> int:
    size = b"" if plane.method in (RAW, CONSTANT) else encode_varint(len(plane.data))
    return 1 + len(size) + len(plane.data)


def _decode_raw(plane: _CodedPlane) -> AnyArray:
    return np.frombuffer(plane.data, np.uint8)


def _decode_constant(plane: _CodedPlane) -> AnyArray:
    return np.full(plane.symbols, plane.data[0], np.uint8)


def _decode_huffman(plane: _CodedPlane) -> AnyArray:
    cursor = Cursor(plane.data)
    lengths = huffman.decode_table(cursor, "plane")
    if lengths.size > 256:
        raise CorruptError(f"plane alphabet: {lengths.size} symbols in a byte")
    counts = as_offsets((plane.symbols,))
    offsets = find_segments(cursor, counts, [takes_bits(lengths)])[:1]
    cursor.finish("plane")
    out = np.empty(plane.symbols, np.uint8)
    with corrupt("plane"):
        kernels.decode_dense(
            plane.data,
            offsets,
            counts,
            lengths,
            identity(256).astype(np.uint8),
            out,
        )
    return out


def _decode_zstandard(plane: _CodedPlane) -> AnyArray:
    try:
        if zstandard.frame_content_size(plane.data) != plane.symbols:
            raise CorruptError(f"plane: zstandard frame is not of {plane.symbols} bytes")
        data = zstandard.ZstdDecompressor().decompress(
            plane.data,
            max_output_size=plane.symbols,
            read_across_frames=False,
            allow_extra_data=False,
        )
    except zstandard.ZstdError as error:
        raise CorruptError(f"plane: zstandard: {error}") from None
    return np.frombuffer(data, np.uint8)


_METHODS: dict[int, Callable[[_CodedPlane], AnyArray]] = {
    RAW: _decode_raw,
    CONSTANT: _decode_constant,
    HUFFMAN: _decode_huffman,
    ZSTANDARD: _decode_zstandard,
}


@dataclass(slots=True)
class _PlaneStatistics:
    """Counts the planes of all chunks together."""

    counts: AnyArray
    coded: list[int]

    def __init__(self, planes: int) -> None:
        self.counts = np.zeros((planes, 256), np.int64)
        self.coded = [0] * planes

    def add(self, number: int, plane: AnyArray, coded_bytes: int) -> None:
        self.counts[number] += kernels.count_symbols(plane, 256)
        self.coded[number] += coded_bytes

    def streams(self) -> tuple[StreamStatistics, ...]:
        return tuple(self._stream(number) for number in range(len(self.coded)))

    def _stream(self, number: int) -> StreamStatistics:
        symbols = int(self.counts[number].sum())
        entropy = entropy_bits(self.counts[number])
        return StreamStatistics(
            stream=f"plane-{number}",
            symbols=symbols,
            alphabet=256,
            fixed_bits=8 * symbols,
            entropy_bits=entropy,
            kl_bits=8 * self.coded[number] - entropy,
            table_bits=0,
            framing_bits=0,
        )
