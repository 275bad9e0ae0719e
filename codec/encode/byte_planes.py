"""Writing floats bit for bit, plane by plane; `decode.byte_planes` has the layout."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np

from ..decode.byte_planes import CHUNK, PLAIN, ROTATED
from ..decode.plane_methods import Buffer
from ..kernels import planes
from ..report.description import Description, Parts, count_nonzero
from ..report.planes import PlaneStatistics
from ..wire.arrays import AnyArray
from ..wire.coders import BYTE_PLANES
from .frame import Frame
from .plane_choice import EncodedPlane, encode_planes

# Bytes that a plane of a chunk takes beside its own, at most: its method and its size.
PLANE_HEAD = 8

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
        coded = encode_planes(planes.split_planes(chunk, rotated=rotated), upper_bits)
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
    return Frame(BYTE_PLANES, payload.written(), description)


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
