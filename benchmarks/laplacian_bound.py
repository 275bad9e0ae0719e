"""The rate-distortion curve of a Laplacian source under squared error, for report/rd_bounds.py.

    python benchmarks/laplacian_bound.py        prints the table that the module holds

No closed form is known, and the Shannon lower bound is reached at high rates only. The curve is
calculated by the algorithm of Blahut (1972) and Arimoto (1972), slope by slope, on a grid that is
fine beside the square root of the distortion. Blahut's bounds from above and from below tell when
a point is done; the greatest difference left is printed last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Nats that a unit of distortion is worth, in variances: one row of the table for each.
SLOPES = (0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.85, 1, 1.25, 1.5, 2, 3, 4, 8, 16, 32)
CELLS = 12
REACH = 6.0
FARTHEST = 14.0
TOLERANCE = 2e-4
MOST_ITERATIONS = 200_000


@dataclass(frozen=True, slots=True)
class Found:
    """A point of the curve: distortion over variance, bits, and how far off they may be."""

    distortion: float
    bits: float
    slack: float


class Source:
    """A Laplacian source of variance 1, of whose symmetric density the positive half is kept.

    Parameters
    ----------
    slope : float
        Nats that a unit of distortion is worth.
    """

    def __init__(self, slope: float) -> None:
        self.slope = slope
        width = min(math.sqrt(0.5 / slope), 1.0)
        step = width / CELLS
        edges = np.arange(0, FARTHEST + step, step)
        survival = np.exp(-math.sqrt(2) * edges)
        self.mass = survival[:-1] - survival[1:]
        self.mass[-1] += survival[-1]
        self.at = (edges[:-1] + edges[1:]) / 2
        radius = min(math.ceil(REACH * math.sqrt(0.5 / slope) / step), self.at.size - 1)
        distances = np.square(np.arange(-radius, radius + 1) * step)
        self.kernel = np.exp(-slope * distances) / 2
        self.moment = self.kernel * distances
        self.radius = radius

    def spread(self, values: Floats, kernel: Floats) -> Floats:
        """Mean over both signs of the other end, for each place of the positive half."""
        padded = np.concatenate((values[: self.radius][::-1], values, np.zeros(self.radius)))
        size = 1 << (padded.size + kernel.size).bit_length()
        product = np.fft.rfft(padded, size) * np.fft.rfft(kernel, size)
        found = np.fft.irfft(product, size)[2 * self.radius :][: values.size]
        return np.maximum(found, 1e-300)

    def solve(self) -> Found:
        """Iterate from the source's own distribution until both bounds meet."""
        marginal = self.mass.copy()
        for _ in range(MOST_ITERATIONS):
            partition = self.spread(marginal, self.kernel)
            growth = self.spread(self.mass / partition, self.kernel)
            marginal = marginal * growth
            gap = float(np.log2(growth.max()) - np.sum(marginal * np.log2(growth)))
            marginal /= marginal.sum()
            if gap < TOLERANCE:
                break
        partition = self.spread(marginal, self.kernel)
        distortion = float(np.sum(self.mass / partition * self.spread(marginal, self.moment)))
        growth = self.spread(self.mass / partition, self.kernel)
        nats = -self.slope * distortion - float(np.sum(self.mass * np.log(partition)))
        nats -= float(np.sum(marginal * growth * np.log(growth)))
        return Found(distortion, nats / math.log(2), gap)


def main() -> None:
    """Print octaves, bits, and bits an octave: the rows of `codec/report/rd_bounds.py`."""
    worst = 0.0
    for slope in SLOPES:
        found = Source(slope).solve()
        worst = max(worst, found.slack)
        octaves = -math.log2(found.distortion)
        row = f"({octaves:.4f}, {found.bits:.4f}, {slope * found.distortion:.4f})"
        print(f"    {row},", flush=True)
    print(f"bits are too many by {worst:.1e} at most")


if __name__ == "__main__":
    main()
