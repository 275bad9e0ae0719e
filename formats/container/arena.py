"""Fresh memory for decoded tensors, taken in large pieces.

Touching new memory page by page costs more than decoding into it. One mapping in huge pages for
several tensors needs the fewest page faults; it is given back when the last of them is gone.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np

from ...codec.errors import LimitError
from ...codec.wire.arrays import AnyArray

_PIECE = 1 << 25
_HUGE_PAGE = 1 << 21
_ALIGNMENT = 64


class Arena:
    """Gives arrays that share mappings of 32 MiB, or have one of their own if they are larger."""

    def __init__(self) -> None:
        self._piece: AnyArray = np.empty(0, np.uint8)
        self._used = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
        """An uninitialised array, C-contiguous and writable. Raises LimitError without memory."""
        size = math.prod(shape) * dtype.itemsize
        if self._used + size > self._piece.size:
            self._piece = _new_piece(max(size, _PIECE))
            self._used = 0
        start = self._used
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return self._piece[start : start + size].view(dtype).reshape(shape)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    """An uninitialised array of its own. Raises LimitError if there is no memory for it."""
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        raise _too_large(math.prod(shape) * dtype.itemsize) from None


def _new_piece(size: int) -> AnyArray:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return empty((size,), np.dtype(np.uint8))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        pages = mmap.mmap(-1, -(-size // _HUGE_PAGE) * _HUGE_PAGE, flags=flags)
    except (OSError, OverflowError):
        raise _too_large(size) from None
    pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8)


def _too_large(size: int) -> LimitError:
    return LimitError(f"{size} bytes are more than there is memory")
