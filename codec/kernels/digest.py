"""Digests of decoded values: XXH3-64 of every chunk of 2**20 bytes, by the xxhash library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xxhash

from .coding_arguments import Array, require

DIGEST_CHUNK = 1 << 20

Digests = npt.NDArray[np.uint64]


def digest_count(size: int) -> int:
    """How many digests `size` bytes have: one for each chunk begun, and at least one."""
    return max(-(-size // DIGEST_CHUNK), 1)


def write_digests(array: Array, digests: Digests) -> None:
    """Write the digest of each chunk of a contiguous array's bytes.

    Parameters
    ----------
    array : array
    digests : uint64[digest_count(array.nbytes)]
        Receives XXH3-64 (seed 0) of each 2**20 bytes, the last perhaps fewer.

    Raises
    ------
    ValueError
        If there are more or fewer digests than chunks.
    """
    require(len(digests) == digest_count(array.nbytes), "the digests are too few or too many")
    data = array.reshape(-1).view(np.uint8)
    for i in range(len(digests)):
        chunk = data[i * DIGEST_CHUNK : (i + 1) * DIGEST_CHUNK]
        digests[i] = xxhash.xxh3_64_intdigest(chunk.data)
