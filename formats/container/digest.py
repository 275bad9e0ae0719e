"""Checksums of coded frames and digests of decoded tensors (XXH3, by the xxhash library).

They find accidents. Neither says who wrote a file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xxhash

from ...codec.kernels import coding
from ...codec.kernels import digest as kernels
from ...codec.kernels.digest import Digests
from ...codec.wire.arrays import AnyArray

CHUNK = kernels.DIGEST_CHUNK


def checksum(*parts: bytes | memoryview) -> int:
    """The lower 32 bits of XXH3-64 over the parts laid end to end."""
    if len(parts) == 1:
        return xxhash.xxh3_64_intdigest(parts[0]) & 0xFFFFFFFF
    state = xxhash.xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest() & 0xFFFFFFFF


def chunk_digests(array: AnyArray) -> list[int]:
    """XXH3-64 of each chunk of 1 MiB of a contiguous array's bytes, at least one."""
    digests = empty_digests(array.nbytes)
    coding.write_digests(array, digests)
    return [int(digest) for digest in digests]


def empty_digests(size: int) -> Digests:
    """Room for the digests of the chunks of `size` bytes."""
    return np.empty(kernels.digest_count(size), np.uint64)


def combine(digests: Sequence[int]) -> int:
    """A tensor's digest from those of its chunks; a single chunk's is the tensor's."""
    if len(digests) == 1:
        return digests[0]
    return xxhash.xxh3_64_intdigest(b"".join(digest.to_bytes(8, "little") for digest in digests))


def tensor_digest(array: AnyArray) -> int:
    """Digest of a contiguous array's elements."""
    if array.nbytes <= CHUNK:
        return xxhash.xxh3_64_intdigest(array.reshape(-1).view(np.uint8).data)
    return combine(chunk_digests(array))
