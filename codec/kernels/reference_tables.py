"""Reading of code tables in plain Python: the oracle of the C kernel, and its stand-in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LITERAL_WORD = 7


def read_lengths(
    coded: Any, alphabet: int, guess: int, longest: int
) -> tuple[npt.NDArray[np.uint8], int]:
    """Read code lengths, each told relative to the one before (FORMAT.md, Code tables).

    Parameters
    ----------
    coded : buffer
        The bits, each byte's lowest first; zeros follow its end.
    alphabet : int
        How many lengths there are.
    guess : int
        The length that stands before the first.
    longest : int
        The greatest length allowed.

    Returns
    -------
    lengths : uint8[alphabet]
    used : int
        Bits that they take; more than there are if the lengths are cut off.

    Raises
    ------
    ValueError
        If a length is out of range.
    """
    given = np.unpackbits(np.frombuffer(coded, np.uint8), bitorder="little").tolist()
    bits = given + [0] * (LITERAL_WORD * (alphabet + 1))
    lengths = []
    length, at = guess, 0
    for _ in range(alphabet):
        if not bits[at]:
            at += 1
        elif not bits[at + 1]:
            length, at = length + 1, at + 2
        elif not bits[at + 2]:
            length, at = length - 1, at + 3
        else:
            length = bits[at + 3] | bits[at + 4] << 1 | bits[at + 5] << 2 | bits[at + 6] << 3
            at += LITERAL_WORD
        if not 0 <= length <= longest:
            raise ValueError(f"one is outside 0 to {longest}")
        lengths.append(length)
    return np.array(lengths, np.uint8), at
