"""What a trellis has in a file: its states, and the values of its positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import AnyArray

# The trellis begins anew at every multiple of this many elements, so that threads decode side by
# side, in whole chunks of a digest.
CHUNK = 1 << 22
STATES = (4, 8, 16, 32, 64)
DEFAULT_STATES = 64
Floats = npt.NDArray[np.float64]


def values_at(positions: AnyArray, step: float | Floats, dtype: np.dtype[Any]) -> AnyArray:
    """Positions times the half step, or steps of their own, rounded to float32 and to the dtype.

    Float64 is not rounded to float32.
    """
    with np.errstate(over="ignore"):
        values = positions.astype(np.float64) * step
        return values.astype(dtype if dtype.itemsize > 4 else np.float32).astype(dtype)
