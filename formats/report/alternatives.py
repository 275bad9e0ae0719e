"""What a user would have got otherwise: general-purpose compression of the same content."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import zstandard

from ...codec.wire.arrays import AnyArray
from .archive import Archive

SOURCE = "source through zstd -19"
INDICES = "one-byte indices through zstd -3"
_CHUNK = 1 << 22

Progress = Callable[[str, int], None]


def compress_source(path: str | os.PathLike[str], progress: Progress | None = None) -> int:
    """Size of a file through zstandard's level 19, in bytes."""
    compressor = zstandard.ZstdCompressor(level=19, threads=-1).compressobj(
        size=os.path.getsize(path)
    )
    size = 0
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(compressor.compress(chunk))
            if progress is not None:
                progress(SOURCE, len(chunk))
    return size + len(compressor.flush())


def compress_indices(archive: Archive) -> int:
    """Size of all tensors as one index a position (two bytes where one is too few), zstandard 3.

    Codebooks are left out, and tensors that are not shared go in as they are.
    """
    return sum(_compressed_size(array) for array in archive.frame_arrays())


def _compressed_size(array: AnyArray) -> int:
    return len(zstandard.compress(_as_bytes(array).data, 3))


def _as_bytes(array: AnyArray) -> AnyArray:
    if array.dtype == np.uint32:
        array = array.astype(np.uint16)
    if array.dtype == np.uint16 and (array.size == 0 or int(array.max()) < 256):
        array = array.astype(np.uint8)
    return array.reshape(-1).view(np.uint8)
