"""What any code must spend on weights of a given variance at a given squared error.

The rate-distortion function of a source is the least rate at which its symbols, taken as
independent draws, can be told to within an error (Shannon 1959; Cover and Thomas, Elements of
Information Theory, chapter 10). Of all sources of one variance the Gaussian needs most. Trained
weights are nearer to a Laplacian one. A code that spends less than its bound has found something
that the source does not have: unequal scales, or neighbours that resemble each other.

Several tensors share one error best at one slope: where a bit more would lower each one's error by
equally much. For Gaussian sources this is reverse water-filling (Cover and Thomas, section 10.3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .description import Moments

Floats = npt.NDArray[np.float64]

_BISECTIONS = 80


@dataclass(frozen=True, slots=True)
class Source:
    """Weights that a curve describes.

    Attributes
    ----------
    numel : int
    variance : float
        Of one weight; above 0.
    error : float
        Mean squared error of one weight, as achieved; above 0.
    """

    numel: int
    variance: float
    error: float


def source_of(moments: Moments | None, numel: int, relative_error: float) -> Source | None:
    """What a tensor was before sharing, as far as a packed file tells.

    The file holds the decoded weights and sum (w - w')**2 / sum w**2, not the source's variance. It
    is taken to be the variance of the decoded weights plus the error, which is exact where each
    shared value is the mean of the weights that share it.

    Parameters
    ----------
    moments : Moments or None
        Of the decoded weights.
    numel : int
    relative_error : float
        Of the tensor.

    Returns
    -------
    Source or None
        None for an exact tensor, and where nothing is left or known of the variance.
    """
    if moments is None or moments.energy == 0 or not 0 < relative_error < 1:
        return None
    energy = moments.energy / (1 - relative_error)
    mean = moments.total / numel
    source = Source(numel, energy / numel - mean * mean, energy * relative_error / numel)
    known = 0 < source.variance < math.inf and 0 < source.error < math.inf
    return source if known else None


class Curve:
    """The rate-distortion function of a family of sources that differ in scale alone.

    Rates are told over octaves: log2(variance / error), 0 where the error is the whole variance.

    Parameters
    ----------
    rows : sequence of (octaves, bits, slope)
        Ascending, from 0; the slope in bits an octave. Between rows the curve is a cubic that
        meets both slopes, past the last one it is straight at half a bit an octave.
    """

    def __init__(self, rows: Sequence[tuple[float, float, float]]) -> None:
        self._octaves, self._bits, self._slopes = np.array(rows).T
        # Nats that a unit of error is worth, in variances: bits an octave over what is left of it.
        self._log_slopes = np.log2(self._slopes) + self._octaves

    def bits(self, variance: float, error: float) -> float:
        """Return the least bits a weight; 0 where the error is the variance or more.

        Parameters
        ----------
        variance, error : float
            Of one weight; both above 0.
        """
        return float(self._bits_at(np.array([np.log2(variance) - np.log2(error)]))[0])

    def each_bits(self, sources: Sequence[Source]) -> list[float]:
        """Return the least bits of each source, all its weights together, at its own error."""
        numel = np.array([source.numel for source in sources], np.float64)
        log_variance = np.log2([source.variance for source in sources])
        log_error = np.log2([source.error for source in sources])
        return [float(bits) for bits in numel * self._bits_at(log_variance - log_error)]

    def total_bits(self, sources: Sequence[Source]) -> float:
        """Return the least bits for all sources together at the total of their errors.

        How the error is divided between the sources is free, which makes this less than the sum
        of their own bounds.
        """
        if not sources:
            return 0.0
        numel = np.array([source.numel for source in sources], np.float64)
        log_variance = np.log2([source.variance for source in sources])
        # Relative to the greatest, so that sums neither overflow nor vanish.
        scale = log_variance.max()
        shares = numel * np.exp2(log_variance - scale)
        log_error = np.log2([source.error for source in sources])
        error = float(np.sum(numel * np.exp2(log_error - scale)))
        octaves = self._divide(error, shares, log_variance - scale)
        return float(np.sum(numel * self._bits_at(octaves)))

    def _divide(self, error: float, energies: Floats, log_variances: Floats) -> Floats:
        """Octaves of each source at the one slope where their errors add up to `error`."""
        low, high = -200.0, 1200.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            octaves = self._octaves_at(middle + log_variances)
            if np.sum(energies * np.exp2(-octaves)) > error:
                low = middle
            else:
                high = middle
        return self._octaves_at(high + log_variances)

    def _octaves_at(self, log_slopes: Floats) -> Floats:
        inside = np.interp(log_slopes, self._log_slopes, self._octaves)
        return np.asarray(inside + np.maximum(log_slopes - self._log_slopes[-1], 0))

    def _bits_at(self, octaves: Floats) -> Floats:
        octaves = np.maximum(octaves, 0)
        last = self._octaves[-1]
        number = np.clip(np.searchsorted(self._octaves, octaves) - 1, 0, self._octaves.size - 2)
        width = self._octaves[number + 1] - self._octaves[number]
        t = np.minimum((octaves - self._octaves[number]) / width, 1)
        inside = (
            self._bits[number] * (1 + 2 * t) * (1 - t) ** 2
            + self._bits[number + 1] * t * t * (3 - 2 * t)
            + width * self._slopes[number] * t * (1 - t) ** 2
            + width * self._slopes[number + 1] * t * t * (t - 1)
        )
        return np.asarray(inside + np.maximum(octaves - last, 0) / 2)


GAUSSIAN = Curve([(0, 0, 0.5), (1, 0.5, 0.5)])

# Made by `python benchmarks/laplacian_bound.py`, which says how; off by 2e-4 bits at most. In the
# last rows it meets the Shannon lower bound log2(2 e b) - log2(2 pi e error) / 2, with 2 b**2 the
# variance. At the first one the slope is 0 in truth, but it has risen to that at once.
LAPLACIAN = Curve(
    [
        (0, 0, 0.2),
        (0.0185, 0.0045, 0.2468),
        (0.0516, 0.0135, 0.2895),
        (0.1020, 0.0290, 0.3261),
        (0.1666, 0.0512, 0.3564),
        (0.3189, 0.1092, 0.4008),
        (0.4815, 0.1768, 0.4297),
        (0.6419, 0.2473, 0.4486),
        (0.8664, 0.3500, 0.4662),
        (1.0702, 0.4460, 0.4763),
        (1.3649, 0.5877, 0.4853),
        (1.6135, 0.7090, 0.4902),
        (2.0150, 0.9068, 0.4948),
        (2.5912, 1.1929, 0.4978),
        (3.0033, 1.3983, 0.4989),
        (4.0009, 1.8964, 0.4997),
        (5.0003, 2.3959, 0.4999),
        (6.0001, 2.8957, 0.5000),
    ]
)
