"""Context mixing in C; `reference.decode.mixing` documents it and agrees in every bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _kernels
from ..reference.decode.mixing import Chunk, Positions, check_chunks
from ..reference.encode.trellis import TRELLISES

__all__ = [
    "decode_mixed",
    "decode_mixed_group",
    "encode_mixed",
    "encode_mixed_group",
]


def encode_mixed(positions: Positions, chunk: Chunk, states: int) -> bytes:
    """Code the positions of a chunk: see `reference.decode.mixing.encode_mixed`."""
    return _encode(positions, [chunk], states, grouped=False)


def decode_mixed(data: Any, chunk: Chunk, states: int) -> Positions:
    """Decode the positions of a chunk: see `reference.decode.mixing.decode_mixed`."""
    return _decode(data, [chunk], states, grouped=False)


def encode_mixed_group(positions: Positions, chunks: Sequence[Chunk], states: int) -> bytes:
    """Code the positions of several tensors: see `reference.decode.mixing.encode_mixed_group`."""
    return _encode(positions, chunks, states, grouped=True)


def decode_mixed_group(data: Any, chunks: Sequence[Chunk], states: int) -> Positions:
    """Decode the positions of several tensors: see `reference.decode.mixing.decode_mixed_group`."""
    return _decode(data, chunks, states, grouped=True)


def _encode(positions: Positions, chunks: Sequence[Chunk], states: int, *, grouped: bool) -> bytes:
    check_chunks(positions, chunks)
    own = np.require(positions, np.int32, ["C", "A"])
    return _kernels.encode_mixed(own, _numbers(chunks), grouped, *TRELLISES[states])


def _decode(data: Any, chunks: Sequence[Chunk], states: int, *, grouped: bool) -> Positions:
    positions = np.empty(sum(chunk.numel for chunk in chunks), np.int32)
    check_chunks(positions, chunks)
    _kernels.decode_mixed(data, _numbers(chunks), grouped, *TRELLISES[states], positions)
    return positions


def _numbers(chunks: Sequence[Chunk]) -> npt.NDArray[np.uint64]:
    return np.array([(c.start, c.numel, c.row, c.kernel, c.width) for c in chunks], np.uint64)
