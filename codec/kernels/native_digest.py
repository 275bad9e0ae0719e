"""What decoding in C leaves to the library: the digest of a chunk that is too short."""

from __future__ import annotations

import numpy as np

from .coding_arguments import Array
from .reference_digest import DIGEST_CHUNK, Digests, digest_count, write_digests

# XXH3 treats inputs up to this size differently; only the last chunk can be one.
_SHORT = 240
NO_DIGESTS: Digests = np.empty(0, np.uint64)


def write_short_digest(out: Array, digests: Digests | None) -> None:
    """Write the last chunk's digest, if digests are wanted and the kernels left that one."""
    if digests is None:
        return
    last = (digest_count(out.nbytes) - 1) * DIGEST_CHUNK
    if out.nbytes - last <= _SHORT:
        write_digests(out.view(np.uint8)[last:], digests[-1:])
