"""Trellis and context mixing in C: arrays are brought into shape here, checked and used there.

`reference_trellis` and `reference_mixed` document each function; they agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _kernels
from .coding_arguments import Bytes, Integers, require
from .reference_mixed import Chunk, Positions, check_chunks
from .reference_trellis import RATE_CLASSES, RATE_LEVELS, TRELLISES, Floats
from .weight_arguments import value_array


def quantize_trellis(
    values: npt.NDArray[Any],
    scale: float,
    states: int,
    classes: Bytes,
    rates: Floats,
    *,
    closed: bool = False,
) -> tuple[Positions, Integers]:
    """Find levels along a trellis: see `reference_trellis.quantize_trellis`."""
    require(states > 1 and states in TRELLISES, "a trellis has 4, 8, 16, 32 or 64 states")
    array = np.require(value_array(values), requirements=["A"])
    positions = np.empty(array.size, np.int32)
    counts = np.empty((RATE_CLASSES, 2, RATE_LEVELS), np.int64)
    own = np.ascontiguousarray(classes, np.uint8), np.require(rates, np.float64, ["C", "A"])
    wide = array.itemsize == 8
    _kernels.quantize_trellis(
        array, wide, closed, scale, states, *TRELLISES[states], *own, positions, counts
    )
    return positions, counts


def encode_mixed(positions: Positions, chunk: Chunk, states: int) -> bytes:
    """Code the positions of a chunk: see `reference_mixed.encode_mixed`."""
    return _encode(positions, [chunk], states, grouped=False)


def decode_mixed(data: Any, chunk: Chunk, states: int) -> Positions:
    """Decode the positions of a chunk: see `reference_mixed.decode_mixed`."""
    return _decode(data, [chunk], states, grouped=False)


def encode_mixed_group(positions: Positions, chunks: Sequence[Chunk], states: int) -> bytes:
    """Code the positions of several tensors: see `reference_mixed.encode_mixed_group`."""
    return _encode(positions, chunks, states, grouped=True)


def decode_mixed_group(data: Any, chunks: Sequence[Chunk], states: int) -> Positions:
    """Decode the positions of several tensors: see `reference_mixed.decode_mixed_group`."""
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
