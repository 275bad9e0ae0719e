"""Order-0 entropy of a stream and what a code spends above it.

Entropies bound what a coder that knows only the symbols' frequencies can reach
(Shannon 1948; Cover and Thomas, Elements of Information Theory, chapter 5).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def entropy_bits(counts: Counts) -> float:
    """Total bits of a stream at its order-0 entropy: sum of c * log2(n / c).

    Parameters
    ----------
    counts : int64[alphabet]
        How often each symbol occurs.
    """
    used = counts[counts > 0].astype(np.float64)
    if used.size < 2:
        return 0.0
    return float(np.sum(used * (np.log2(used.sum()) - np.log2(used))))


def cross_entropy_bits(counts: Counts, lengths: npt.NDArray[np.uint8]) -> int:
    """Bits of the stream under a code: sum of c * length; 0 where one symbol is all there is."""
    return int(counts.dot(lengths)) if np.count_nonzero(lengths) > 1 else 0


def fixed_bits(symbols: int, alphabet: int) -> int:
    """Bits at fixed length: symbols * ceil(log2 alphabet)."""
    return symbols * max(alphabet - 1, 0).bit_length()


def log2(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Base-2 logarithm to about 1e-9, by exactly rounded operations alone.

    Decides bits: it must give the same on every machine, which `np.log2` need not.
    """
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    ratio = (mantissa - 0.7071067811865476) / (mantissa + 0.7071067811865476)
    square = ratio * ratio
    series = np.full_like(ratio, 1.0 / 15)
    for odd in range(13, 0, -2):
        series *= square
        series += 1.0 / odd
    return exponent - 0.5 + ratio * series * 2.8853900817779268
