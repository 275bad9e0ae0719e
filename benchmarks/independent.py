"""Figures that the benchmarks compute for themselves, with NumPy alone and nothing of dcz.

They are written for being obviously right: sorted values, Lloyd's algorithm, Huffman's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a calculation says about a checkpoint's weights of two or more dimensions."""

    bytes: int
    dense_bytes: int
    relative_error: float

    @property
    def ratio(self) -> float:
        """Return how many times smaller than the dense weights."""
        return self.dense_bytes / self.bytes

    def figures(self) -> dict[str, float]:
        """Return all of it by name."""
        return {**asdict(self), "ratio": self.ratio}


def is_weight(array: Array) -> bool:
    """Tell whether pruning and sharing may touch the tensor: floats of two dimensions or more."""
    return array.ndim >= 2 and array.dtype.kind == "f"


def weights(arrays: Arrays) -> Iterator[Array]:
    """Yield the tensors that may be pruned and shared, each laid out flat."""
    return (array.reshape(-1) for array in arrays.values() if is_weight(array))


def entropy_bits(counts: Int64) -> float:
    """Return n * H of the symbol counts: the order-0 bound of their stream in bits."""
    used = counts[counts > 0].astype(np.float64)
    total = used.sum()
    return float((used * np.log2(total / used)).sum())


def stream_entropy_bits(array: Array) -> float:
    """Return the order-0 bound of a tensor's values in bits, told apart by their bit patterns."""
    patterns = array.reshape(-1).view(f"u{array.dtype.itemsize}")
    return entropy_bits(np.unique(patterns, return_counts=True)[1].astype(np.int64))


def huffman_bits(counts: Int64) -> int:
    """Return the bits of the counted symbols under an optimal prefix code."""
    heap = [int(count) for count in counts if count > 0]
    if len(heap) < 2:
        return 0
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def relative_error(source: Arrays, decoded: Arrays) -> float:
    """Return sum (w - w')^2 / sum w^2 over the source's floats of two or more dimensions."""
    lost = energy = 0.0
    for name, array in source.items():
        if is_weight(array):
            exact = array.astype(np.float64)
            lost += float(np.square(exact - decoded[name]).sum())
            energy += float(np.square(exact).sum())
    return lost / energy if energy else 0.0


def linear_start(ordered: Float64, levels: int) -> Float64:
    """Return centroids at equal distances from least to greatest: the paper's choice."""
    return np.linspace(ordered[0], ordered[-1], levels)


def companded_start(ordered: Float64, levels: int) -> Float64:
    """Return centroids as dense as the cube root of the density, near the least error."""
    counts, edges = np.histogram(ordered, bins=4096)
    cumulative = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    middles = (np.arange(levels) + 0.5) * (cumulative[-1] / levels)
    centroids: Float64 = np.interp(middles, cumulative, edges)
    return centroids


@dataclass(frozen=True, slots=True)
class KMeans:
    """Where Lloyd's algorithm starts and how many steps it makes at most."""

    start: Callable[[Float64, int], Float64]
    steps: int


# Few steps from the linear start stay close to a uniform grid: more error, less entropy.
PAPER = KMeans(linear_start, 60)
PAPER_SETTLED = KMeans(linear_start, 300)
LEAST_ERROR = KMeans(companded_start, 300)


def lloyd(ordered: Float64, levels: int, kmeans: KMeans) -> tuple[Int64, float]:
    """Cluster ascending values; return the counts of the clusters and the squared error."""
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = kmeans.start(ordered, levels)
    splits = np.zeros(levels + 1, np.int64)
    splits[-1] = len(ordered)
    for _ in range(kmeans.steps):
        moved = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2, side="right")
        if np.array_equal(moved, splits[1:-1]):
            break
        splits[1:-1] = moved
        counts = np.diff(splits)
        means = np.diff(sums[splits]) / np.maximum(counts, 1)
        centroids = np.where(counts > 0, means, centroids)
    counts = np.diff(splits)
    return counts, float(np.square(ordered - np.repeat(centroids, counts)).sum())


def cluster(values: Array, levels: int, kmeans: KMeans) -> tuple[Int64, float]:
    """Cluster values in any order; few distinct ones are kept as they are."""
    ordered = np.sort(values.astype(np.float64))
    changes = np.flatnonzero(np.diff(ordered, prepend=np.nan) != 0)
    if len(changes) <= levels:
        return np.diff(np.append(changes, len(ordered))), 0.0
    return lloyd(ordered, levels, kmeans)


def table_bytes(used: int) -> int:
    """Return what a codebook of fp32 centroids and its 4-bit code lengths take."""
    return 4 * used + (used + 1) // 2


def shared_and_huffman(arrays: Arrays, bits: int, kmeans: KMeans) -> Bound:
    """Return the size of k-means per tensor and one Huffman code each, tables included."""
    size = dense = 0
    lost = energy = 0.0
    for values in weights(arrays):
        counts, error = cluster(values, 2**bits, kmeans)
        size += -(-huffman_bits(counts) // 8) + table_bytes(int(np.count_nonzero(counts)))
        dense += values.nbytes
        lost += error
        energy += float(np.square(values.astype(np.float64)).sum())
    return Bound(size, dense, lost / energy)


def global_threshold(tensors: Iterable[Array], sparsity: float) -> float:
    """Return the magnitude below which that fraction of all weights lies."""
    magnitudes = np.concatenate([np.abs(values) for values in tensors])
    rank = round(sparsity * len(magnitudes))
    return float(np.partition(magnitudes, rank)[rank])


def pruned_order0(arrays: Arrays, sparsity: float, bits: int, kmeans: KMeans) -> Bound:
    """Return the order-0 entropies of gaps and indices, pruned by one global threshold.

    Gaps of any length are one alphabet, a tensor is one stream, and tables cost nothing: no
    coder that knows nothing more than frequencies gets below.
    """
    threshold = global_threshold(weights(arrays), sparsity)
    size = lost = energy = 0.0
    dense = 0
    for values in weights(arrays):
        kept = np.abs(values) >= threshold
        gaps = np.diff(np.flatnonzero(kept), prepend=-1)
        counts, error = cluster(values[kept], 2**bits, kmeans)
        size += (entropy_bits(np.bincount(gaps)) + entropy_bits(counts)) / 8
        dense += values.nbytes
        exact = values.astype(np.float64)
        lost += error + float(np.square(exact[~kept]).sum())
        energy += float(np.square(exact).sum())
    return Bound(round(size), dense, lost / energy)
