"""Lossless coding by byte planes, for whatever must come back bit for bit.

The bytes of equal significance of all elements form a plane; floating-point numbers are rotated by
one bit first, so that the exponent fills a plane of its own. `plane_methods` codes the planes of
each chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from dcz.codec import kernels
from dcz.codec.entropy import StreamStatistics, entropy_bits, fixed_bits
from dcz.codec.errors import CorruptError
from dcz.codec.frame import (
    AnyArray,
    Description,
    Frame,
    Member,
    Parts,
    count_nonzero,
    numel,
    split,
)
from dcz.codec.kernels import Digests
from dcz.codec.plane_methods import (
    Buffer,
    EncodedPlane,
    PlaneCounts,
    count_planes,
    decode_planes,
    encode_planes,
    read_planes,
)
from dcz.codec.varint import Cursor

CODER = 1
CHUNK = 1 << 18
# Bytes that a plane of a chunk takes beside its own, at most: its method and its size.
PLANE_HEAD = 8

PLAIN, ROTATED = range(2)

# Floats, and how many bits of the last plane but one are coded with the last: what the exponent
# has left over, and two bits of the mantissa. A half's exponent shares its byte with three already.
_UPPER_BITS = {
    np.dtype(np.float16): 0,
    np.dtype(ml_dtypes.bfloat16): 2,
    np.dtype(np.float32): 2,
    np.dtype(np.float64): 5,
}


def encode(arrays: Sequence[AnyArray]) -> Frame:
    """Code one or more flat arrays of one dtype without loss."""
    flat = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    rotated = flat.dtype in _UPPER_BITS
    upper_bits = _UPPER_BITS.get(flat.dtype, 0)
    payload = _Payload(_most_bytes(flat))
    payload.append(bytes([ROTATED if rotated else PLAIN]))
    statistics = PlaneStatistics()
    zeros = 0
    for start in range(0, flat.size, CHUNK):
        chunk = flat[start : start + CHUNK]
        coded = encode_planes(kernels.split_planes(chunk, rotated=rotated), upper_bits)
        if not rotated or _may_hold_zeros(coded[-1]):
            zeros += chunk.size - count_nonzero(chunk)
        statistics.add([plane.counted for plane in coded])
        for plane in coded:
            for piece in plane.pieces:
                payload.append(piece)
    parts = Parts()
    parts.add("lossless", payload.size)
    nonzero = _nonzero(arrays, zeros)
    description = Description(parts.sizes, statistics.streams(), (0,) * len(arrays), nonzero)
    return Frame(CODER, payload.written(), description)


def _nonzero(arrays: Sequence[AnyArray], zeros: int) -> tuple[int, ...]:
    """Elements of each array that are not zero; `zeros` is how many are, in all."""
    if zeros == 0:
        return tuple(array.size for array in arrays)
    if len(arrays) == 1:
        return (arrays[0].size - zeros,)
    return tuple(count_nonzero(array) for array in arrays)


def _most_bytes(flat: AnyArray) -> int:
    """What the payload takes at most: no plane takes more than its bytes and its head."""
    chunks = -(-flat.size // CHUNK)
    return 1 + flat.nbytes + PLANE_HEAD * flat.dtype.itemsize * chunks


class _Payload:
    """Filled in memory taken at once: touching new pages costs more than writing to them."""

    def __init__(self, room: int) -> None:
        self._room = np.empty(room, np.uint8)
        self.size = 0

    def append(self, piece: Buffer) -> None:
        """Copy the bytes of a piece to the end."""
        end = self.size + len(piece)
        self._room[self.size : end] = np.frombuffer(piece, np.uint8)
        self.size = end

    def written(self) -> memoryview:
        """All pieces, one after the other."""
        return self._room[: self.size].data


def _may_hold_zeros(exponents: EncodedPlane) -> bool:
    """Whether any element of a rotated chunk has the exponent of zero."""
    counts = exponents.counts
    return bool(counts[: counts.size // 256].any())


class Decoder:
    """Decodes a frame of byte planes; see `FrameDecoder`."""

    unit = CHUNK

    def __init__(self, payload: memoryview, members: Sequence[Member]) -> None:
        cursor = Cursor(payload)
        self.members = members
        self.size = len(payload)
        itemsize = members[0].dtype.itemsize
        transform = cursor.byte("plane transform")
        if transform not in (PLAIN, ROTATED) or (
            transform == ROTATED and itemsize not in (2, 4, 8)
        ):
            raise CorruptError(f"plane transform {transform} is unknown")
        self.rotated = transform == ROTATED
        total = numel(members)
        self.chunks = [
            read_planes(cursor, itemsize, min(CHUNK, total - start))
            for start in range(0, total, CHUNK)
        ]
        cursor.finish("frame")

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop into `out`."""
        for number in range(start // CHUNK, -(-stop // CHUNK)):
            first = number * CHUNK
            chunk = out[first - start : min(first + CHUNK, stop) - start]
            kernels.join_planes(decode_planes(self.chunks[number]), chunk, rotated=self.rotated)
        if digests is not None:
            kernels.write_digests(out, digests)


@dataclass(slots=True)
class PlaneStatistics:
    """Counts the planes of all chunks together."""

    counts: dict[str, AnyArray] = field(default_factory=dict)
    coded: dict[str, int] = field(default_factory=dict)

    def add(self, chunk: Sequence[PlaneCounts]) -> None:
        """Count the planes of a chunk."""
        for number, plane in enumerate(chunk):
            name = f"plane-{number}{plane.stream}"
            self.counts[name] = self.counts.get(name, 0) + plane.counts
            self.coded[name] = self.coded.get(name, 0) + plane.size

    def streams(self) -> tuple[StreamStatistics, ...]:
        """Statistics of each plane."""
        return tuple(self._stream(name) for name in self.counts)

    def _stream(self, name: str) -> StreamStatistics:
        counts = self.counts[name]
        symbols = int(counts.sum())
        entropy = entropy_bits(counts)
        return StreamStatistics(
            stream=name,
            symbols=symbols,
            alphabet=counts.size,
            fixed_bits=fixed_bits(symbols, counts.size),
            entropy_bits=entropy,
            kl_bits=8 * self.coded[name] - entropy,
            table_bits=0,
            framing_bits=0,
        )


def describe_planes(frame: Decoder) -> Description:
    """Sizes and order-0 entropies of the planes; decodes every symbol."""
    statistics = PlaneStatistics()
    for chunk in frame.chunks:
        statistics.add(count_planes(chunk))
    parts = Parts()
    parts.add("lossless", frame.size)
    flat = np.empty(numel(frame.members), frame.members[0].dtype)
    frame.decode(0, flat.size, flat)
    nonzero = tuple(count_nonzero(part) for part in split(flat, frame.members))
    return Description(parts.sizes, statistics.streams(), (0,) * len(frame.members), nonzero)
