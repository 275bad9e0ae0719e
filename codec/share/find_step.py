"""Codebooks whose values are whole multiples of one step: the step is all that a file need hold.

Trained quantization leaves such codebooks behind, rounded to the tensor's dtype.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ..wire import trellis_states
from ..wire.arrays import AnyArray, is_floating, patterns

# The smallest value is one of the first multiples, and the greatest one not beyond the last.
FIRST_MULTIPLES = 12
MOST_LEVELS, LAST_MULTIPLE = 256, 1 << 14
# Multiples that do not occur have to be learned: with this many for each value a codebook is less.
SPREAD = 2

Multiples = npt.NDArray[np.int32]


def find(codebook: AnyArray, spread: int = SPREAD) -> tuple[float, Multiples] | None:
    """Find a half step that gives each value of a codebook, bit for bit, as an even multiple.

    Parameters
    ----------
    codebook : array[levels]
        Of any dtype; only floating-point ones have such steps here.
    spread : int
        Multiples between the least and the greatest for each value, at most.

    Returns
    -------
    float, int32[levels]
        The half step, a float32, and how many of them each value is; None if there is none, or
        most of its multiples are not among the values.
    """
    if not is_floating(codebook.dtype) or not 0 < codebook.size <= MOST_LEVELS:
        return None
    values = codebook.astype(np.float64)
    sizes = np.abs(values[values != 0])
    if not np.isfinite(values).all():
        return None
    if sizes.size == 0:
        return _exact(codebook, values, 1.0, spread)
    # Two multiples of one step, each rounded by half of this at most, differ by little more.
    tolerance = 2 * float(ml_dtypes.finfo(codebook.dtype).eps)  # type: ignore[no-untyped-call]
    for first in range(1, FIRST_MULTIPLES + 1):
        with np.errstate(over="ignore"):  # beside a denormal number others are beyond the last
            times = np.rint(sizes * (first / sizes.min()))
        if times.max() > LAST_MULTIPLE:
            return None
        steps = sizes / times
        if steps.max() > steps.min() * (1 + tolerance):
            continue
        # Rounding hides the step; the one that its multiples are rounded from is next to these.
        for step in np.unique((steps / 2).astype(np.float32)).tolist():
            found = _exact(codebook, values, step, spread)
            if found is not None:
                return found
    return None


def _exact(
    codebook: AnyArray, values: AnyArray, half_step: float, spread: int
) -> tuple[float, Multiples] | None:
    if half_step == 0:
        return None
    times = 2 * np.rint(values / (2 * half_step))
    if np.abs(times).max() > 2 * LAST_MULTIPLE:
        return None
    multiples = times.astype(np.int32)
    again = trellis_states.values_at(multiples, half_step, codebook.dtype)
    same = np.array_equal(patterns(again), patterns(codebook))
    return (half_step, multiples) if same and _are_dense(multiples, spread) else None


def _are_dense(multiples: Multiples, spread: int) -> bool:
    lowest, highest = min(int(multiples.min()), 0), max(int(multiples.max()), 0)
    return (highest - lowest) // 2 <= spread * multiples.size
