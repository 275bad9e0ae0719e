"""Reading of code tables in C."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dcz.codec.kernels import _kernels


def read_lengths(
    coded: Any, alphabet: int, guess: int, longest: int
) -> tuple[npt.NDArray[np.uint8], int]:
    """Read code lengths: see `reference_tables.read_lengths`."""
    lengths = np.empty(alphabet, np.uint8)
    return lengths, _kernels.read_lengths(coded, guess, longest, lengths)
