"""The index at the end of a file: which frame holds which tensor. FORMAT.md has the layout."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...codec.errors import CorruptError, LimitError, UnsupportedError, VersionError, located
from ...codec.wire.coders import CODERS
from ...codec.wire.varint import Cursor
from .dtypes import DType, NumpyDType, by_code
from .limits import Budget, DecodeLimits
from .tensor_info import TensorInfo, check_size

EXACT, APPROXIMATE, TIED, COPY = range(4)
_FLOAT32 = struct.Struct("<f")
_FLOAT64 = struct.Struct("<d")

# Memory of what stands for a frame, a tensor (without its name) and a size, in bytes.
_FRAME_MEMORY, _TENSOR_MEMORY, _SIZE_MEMORY = 512, 512, 40


class FrameEntry(NamedTuple):
    """A frame in the file.

    Attributes
    ----------
    coder : int
        A key of `CODERS`.
    length : int
        Size of the payload, in bytes.
    checksum : int
        Of the payload, 32 bits.
    """

    coder: int
    length: int
    checksum: int

    @property
    def digest_bytes(self) -> int:
        """What the index keeps of the digest of each of its tensors, in bytes."""
        return CODERS[self.coder].digest_bytes


class TensorEntry(NamedTuple):
    """A tensor in the file.

    Attributes
    ----------
    info : TensorInfo
        Name, dtype and shape.
    frame : int
        The number of the frame that holds it.
    digest : int
        Of the decoded elements, 64 bits; their lower half where the coder keeps no more.
    relative_error : float or None
        sum (w - w')**2 / sum w**2, as a float32; None if the tensor is exact.
    alias_of : str or None
        The tensor with the same elements, which is stored in its place.
    tied : bool
        Whether the two were one tensor in memory, and not merely equal.
    """

    info: TensorInfo
    frame: int
    digest: int
    relative_error: float | None = None
    alias_of: str | None = None
    tied: bool = False


class Index:
    """All that a file says of its content besides the frames themselves.

    Attributes
    ----------
    frames : list of FrameEntry
        In the order of the file.
    tensors : dict from name to TensorEntry
        In the order of the source; a frame's members are its tensors in this order.
    relative_error : float or None
        Of the model: over all floating-point tensors of two or more dimensions; None if all
        tensors are exact.
    metadata : dict of str to str
        The user's own.
    metadata_bytes : int
        What the metadata take in the file, known once it was read.
    """

    __slots__ = ("frames", "metadata", "metadata_bytes", "relative_error", "tensors")

    def __init__(self) -> None:
        self.frames: list[FrameEntry] = []
        self.tensors: dict[str, TensorEntry] = {}
        self.relative_error: float | None = None
        self.metadata: dict[str, str] = {}
        self.metadata_bytes = 0


def decode_index(data: memoryview, limits: DecodeLimits, budget: Budget) -> Index:
    """Read and check an index.

    Parameters
    ----------
    data : memoryview
    limits : DecodeLimits
    budget : Budget
        What all of it may take in memory.

    Raises
    ------
    CorruptError
        If a field is outside its range or the parts contradict each other.
    LimitError
        If it declares more than `limits` allow.
    VersionError
        If a frame's coder or a dtype is not known to this release.
    """
    cursor = Cursor(data)
    index = Index()
    frames = cursor.varint("frame count", high=cursor.remaining)
    budget.spend(frames * _FRAME_MEMORY)
    index.frames = [_decode_frame(cursor) for _ in range(frames)]
    _decode_tensors(cursor, index, limits, budget)
    if any(tensor.relative_error is not None for tensor in index.tensors.values()):
        index.relative_error = _error(cursor, _FLOAT64)
    start = cursor.position
    index.metadata = _decode_metadata(cursor, limits, budget)
    index.metadata_bytes = cursor.position - start
    cursor.finish("index")
    _check_frames_used(index)
    return index


def _decode_metadata(cursor: Cursor, limits: DecodeLimits, budget: Budget) -> dict[str, str]:
    """The user's metadata; a file without any does not import what parses them."""
    if bytes(cursor.rest[:1]) == b"\0":
        cursor.skip(1)
        return {}
    from .metadata import decode_metadata

    return decode_metadata(cursor, limits, budget)


def _decode_frame(cursor: Cursor) -> FrameEntry:
    coder = cursor.byte("frame coder")
    if coder not in CODERS:
        raise VersionError(f"coder {coder} is not known to this release")
    return FrameEntry(coder, cursor.varint("frame length"), cursor.uint32("frame checksum"))


def _decode_tensors(cursor: Cursor, index: Index, limits: DecodeLimits, budget: Budget) -> None:
    tensors = cursor.varint("tensor count")
    if tensors > limits.tensors:
        raise LimitError(f"{tensors} tensors are more than the limit of {limits.tensors}")
    names: list[str] = []
    previous = b""
    total = 0
    for _ in range(tensors):
        previous = _decode_name(cursor, previous)
        name = _text(previous, "tensor name")
        if name in index.tensors:
            raise CorruptError("name is used twice", tensor=name)
        with located(tensor=name):
            entry = _decode_tensor(cursor, name, names, index, limits)
        budget.spend(_TENSOR_MEMORY + sys.getsizeof(name) + _SIZE_MEMORY * len(entry.info.shape))
        index.tensors[name] = entry
        names.append(name)
        total += entry.info.nbytes
        if total > limits.total_bytes:
            raise LimitError(f"tensors take more than the limit of {limits.total_bytes} bytes")


def _decode_name(cursor: Cursor, previous: bytes) -> bytes:
    common = cursor.varint("tensor name prefix", high=len(previous))
    size = cursor.varint("tensor name length")
    return previous[:common] + bytes(cursor.take(size, "tensor name"))


def _decode_tensor(
    cursor: Cursor, name: str, names: Sequence[str], index: Index, limits: DecodeLimits
) -> TensorEntry:
    tag = cursor.byte("tensor kind")
    kind, code = tag >> 6, tag & 63
    if kind in (TIED, COPY):
        return _decode_alias(cursor, name, names, index, tied=kind == TIED, code=code)
    dtype = _dtype(code)
    shape = [cursor.varint("size") for _ in range(cursor.varint("dimensions", high=64))]
    if math.prod(shape) * dtype.itemsize > limits.tensor_bytes:
        raise LimitError(f"shape {shape} is over the limit of {limits.tensor_bytes} bytes")
    try:
        check_size(shape, dtype.itemsize)
    except UnsupportedError as error:
        raise LimitError(error.cause) from None
    info = TensorInfo(name, dtype.numpy, tuple(shape))
    frame = cursor.varint("frame number", high=len(index.frames) - 1)
    digest = cursor.take(index.frames[frame].digest_bytes, "digest")
    inexact = _error(cursor, _FLOAT32) if kind == APPROXIMATE else None
    return TensorEntry(info, frame, int.from_bytes(digest, "little"), inexact)


def _decode_alias(
    cursor: Cursor, name: str, names: Sequence[str], index: Index, *, tied: bool, code: int
) -> TensorEntry:
    if code:
        raise CorruptError(f"reserved bits of an alias are {code}, not zero")
    original = index.tensors[names[cursor.varint("alias", high=len(names) - 1)]]
    if original.alias_of is not None:
        raise CorruptError("alias of an alias")
    info = TensorInfo(name, original.info.dtype, original.info.shape)
    return TensorEntry(
        info,
        original.frame,
        original.digest,
        original.relative_error,
        alias_of=original.info.name,
        tied=tied,
    )


def _dtype(code: int) -> DType:
    try:
        return by_code(code)
    except UnsupportedError as error:
        raise VersionError(error.cause) from None


def _error(cursor: Cursor, layout: struct.Struct) -> float:
    (value,) = layout.unpack(cursor.take(layout.size, "relative error"))
    if not 0 <= value < math.inf:
        raise CorruptError(f"relative error: {value} is not a finite number from 0 up")
    return float(value)


def _text(data: bytes, field: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CorruptError(f"{field}: not valid UTF-8") from None


def _check_frames_used(index: Index) -> None:
    """Each frame has tensors, and those of one dtype."""
    dtypes: dict[int, set[NumpyDType]] = {}
    for tensor in _stored(index):
        dtypes.setdefault(tensor.frame, set()).add(tensor.info.dtype)
    for number in range(len(index.frames)):
        if len(dtypes.get(number, ())) != 1:
            raise CorruptError(f"frame {number} does not hold tensors of one dtype")


def _stored(index: Index) -> Iterator[TensorEntry]:
    return (tensor for tensor in index.tensors.values() if tensor.alias_of is None)
