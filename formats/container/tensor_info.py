"""Name, element type and shape of a tensor, and what a file may say of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...codec.errors import UnsupportedError
from .dtypes import NumpyDType

MAX_DIMENSIONS = 32  # the limit of NumPy 1; NumPy 2 has 64
MAX_BYTES = 2**63 - 1


class TensorInfo(NamedTuple):
    """Name, element type and shape of a tensor."""

    name: str
    dtype: NumpyDType
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes."""
        return self.numel * self.dtype.itemsize


def check_size(shape: Sequence[int], itemsize: int) -> None:
    """Raise UnsupportedError for more than 32 dimensions or a size beyond 2^63 - 1 bytes."""
    if len(shape) > MAX_DIMENSIONS:
        raise UnsupportedError(f"{len(shape)} dimensions are more than {MAX_DIMENSIONS}")
    # NumPy multiplies the non-zero dimensions even where the product is zero.
    numel = math.prod(shape) or math.prod(size for size in shape if size)
    if numel * itemsize > MAX_BYTES:
        raise UnsupportedError(f"shape {list(shape)} exceeds the address space")
