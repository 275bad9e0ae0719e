"""Weight sharing: every surviving weight becomes an index into a small codebook.

Deep Compression, section 3. The paper runs Lloyd's algorithm from three initialisations, of which
it finds the linear one best; here they work on a histogram of 65,536 bins at most. `optimal` finds
the least squared error on a coarser histogram by dynamic programming (as in Wang and Song 2011,
Ckmeans.1d.dp) and polishes it with Lloyd's steps on the fine one. The default takes what is
smaller once coded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..entropy import cross_entropy_bits, log2
from ..kernels import weights
from ..weights import Weights
from ..wire.arrays import AnyArray
from ..wire.code_table import MAX_ALPHABET, code_lengths
from .histogram import POSITIONS, Centroids, Histogram
from .histogram import histogram as histogram
from .shared_tensor import SharedTensor

# Lloyd's steps past these go on to lower the error, but by less than the coded bits they cost.
LLOYD_STEPS = 60
MORE_LLOYD_STEPS = 240
MAX_REDUNDANCY = 0.0135
COMPARED_LEVELS = 16
# Bits a weight that indices may cost more for a code within `MAX_REDUNDANCY` of its entropy.
WORTH_OF_WHOLE_BITS = 0.25
TINY = 1e-30


def optimal_centroids(shape: Histogram, levels: int) -> Centroids:
    """Centroids, as positions, within 0.1% of the least squared error."""
    return weights.cluster(shape.counts, shape.sums, levels)


def linear_centroids(shape: Histogram, levels: int) -> Centroids:
    """Lloyd's algorithm from centroids spaced evenly from the smallest weight to the greatest."""
    starts = np.linspace(0, POSITIONS, levels) if levels > 1 else np.array([POSITIONS / 2])
    return weights.lloyd(shape.counts, shape.sums, starts, LLOYD_STEPS)


def density_centroids(shape: Histogram, levels: int) -> Centroids:
    """Lloyd's algorithm from centroids spaced evenly over the cumulative distribution."""
    total = int(shape.counts.sum())
    ranks = (2 * np.arange(levels, dtype=np.int64) + 1) * total // (2 * levels)
    return weights.lloyd(shape.counts, shape.sums, _weights_at(shape, ranks), LLOYD_STEPS)


def random_centroids(shape: Histogram, levels: int) -> Centroids:
    """Lloyd's algorithm from weights drawn at random (Forgy), with a fixed seed."""
    import random  # takes milliseconds that only this method should cost

    generator = random.Random(0)
    total = int(shape.counts.sum())
    ranks = np.array([int(generator.random() * total) for _ in range(levels)])
    return weights.lloyd(shape.counts, shape.sums, _weights_at(shape, ranks), LLOYD_STEPS)


def _weights_at(shape: Histogram, ranks: npt.NDArray[np.int64]) -> Centroids:
    """Mean positions of the bins that hold the weights of these ranks, ascending, no repeats."""
    bins = np.unique(np.searchsorted(shape.cumulative[1:], ranks, side="right"))
    return np.asarray(shape.means[bins])


def best_centroids(shape: Histogram, levels: int) -> Centroids:
    """Of the linear and the optimal centroids those that need fewer coded bits at equal error.

    Least error is not fewest bits: optimal centroids crowd where the weights are, which makes
    their indices nearly equally frequent. A bit more a weight buys a quarter of the error, and by
    that price the linear start won on every tensor measured with more than 16 levels, so that
    there the search for the optimum is spared. A linear start whose indices are so unequal that
    whole bits do not suit them is carried on, or given up for one that follows the density,
    unless that costs too much: on heavy tails it can take twice the bits.
    """
    linear = linear_centroids(shape, levels)
    if levels <= COMPARED_LEVELS:
        return min(linear, optimal_centroids(shape, levels), key=lambda c: _price(shape, c))
    if levels > MAX_ALPHABET or _redundancy(shape, linear) <= MAX_REDUNDANCY:
        return linear
    further = weights.lloyd(shape.counts, shape.sums, linear, MORE_LLOYD_STEPS)
    if _redundancy(shape, further) <= MAX_REDUNDANCY:
        return further
    density = density_centroids(shape, levels)
    dearer = _price(shape, density) - _price(shape, further)
    return density if dearer <= WORTH_OF_WHOLE_BITS else further


def _price(shape: Histogram, centroids: Centroids) -> float:
    """Coded bits a weight, plus half the binary logarithm of the error."""
    counts = shape.occupancy(centroids)
    total = int(counts.sum())
    bits = cross_entropy_bits(counts, code_lengths(counts))
    apart = (shape.means - np.repeat(centroids, np.diff(shape.edges(centroids)))) / POSITIONS
    error = float(np.cumsum(shape.counts * apart * apart)[-1])
    return bits / total + 0.5 * float(log2(max(error / total, TINY)))


def _redundancy(shape: Histogram, centroids: Centroids) -> float:
    """What a Huffman code of the indices costs above their entropy, as a share of it."""
    counts = shape.occupancy(centroids)
    used = counts[counts > 0]
    if used.size < 2:
        return 0.0
    logarithms = log2(np.append(used, used.sum()))
    entropy = np.cumsum(used * (logarithms[-1] - logarithms[:-1]))[-1]
    return cross_entropy_bits(counts, code_lengths(counts)) / float(entropy) - 1


INITIALISATIONS: dict[str, Callable[[Histogram, int], Centroids]] = {
    "best": best_centroids,
    "optimal": optimal_centroids,
    "linear": linear_centroids,
    "density": density_centroids,
    "random": random_centroids,
}


def make_codebook(shape: Histogram, centroids: Centroids, dtype: np.dtype[Any]) -> AnyArray:
    """Centroids in use as ascending values of the tensor's dtype, without repeats and zeros."""
    used = centroids[shape.occupancy(centroids) > 0]
    values = np.clip(shape.weights(used), shape.low, shape.high)
    rounded = np.unique(values.astype(dtype).astype(np.float64))
    return np.asarray(rounded[rounded != 0], dtype)


def thresholds(codebook: AnyArray) -> Centroids:
    """Midpoints of an ascending codebook: weights up to the midpoint belong to the lower value."""
    values = codebook.astype(np.float64)
    return values[:-1] / 2 + values[1:] / 2


def assign(values: Weights, cutoff: float, codebook: AnyArray, *, zeros: bool) -> SharedTensor:
    """Give each surviving weight the index of the nearest value.

    Parameters
    ----------
    values : float32[numel] or float64[numel]
    cutoff : float
        The smallest magnitude that survives.
    codebook : array[levels]
        Ascending, without zero.
    zeros : bool
        Whether any position is pruned; zero then becomes entry 0.
    """
    indices = weights.assign(values, cutoff, thresholds(codebook), int(zeros))
    if zeros:
        codebook = np.concatenate([np.zeros(1, codebook.dtype), codebook])
    return SharedTensor(indices, codebook, zeros)


def row_errors(values: Weights, shared: SharedTensor, rows: int) -> npt.NDArray[np.float64]:
    """Sum of the squared differences between weights and shared values, for each row."""
    return weights.measure(values, shared.indices, shared.codebook.astype(np.float64), rows)


def squared_error(values: Weights, shared: SharedTensor) -> float:
    """Sum of the squared differences between weights and shared values."""
    return float(row_errors(values, shared, 1)[0])


def surviving_values(codebook: AnyArray, cutoff: float) -> AnyArray:
    """The values of a codebook that survive a cutoff, ascending, without zeros."""
    values = np.unique(codebook.astype(np.float64))
    survivors = values[(values != 0) & (np.abs(values) >= cutoff)]
    return np.asarray(survivors, codebook.dtype)
