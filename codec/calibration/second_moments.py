"""Second moments of vectors that come pass by pass, shrunk as far as the passes differ."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .record import Moments


class SecondMoments:
    """Vectors' second moments summed up, pass by pass, and how much the passes differ.

    Few vectors tell little of which others go together: from what the passes differ by follows how
    far correlations have to be shrunk towards none to be nearest to those of all (Ledoit and
    Wolf 2004; Schäfer and Strimmer 2005). A single pass tells nothing of it.
    """

    def __init__(self) -> None:
        self.squares = self.means = self.scale = torch.zeros(0)
        self.count = self.passes = 0
        self.norms = 0.0

    def add(self, parts: Iterable[Tensor]) -> None:
        """Add a pass: float32[groups, positions, n], in parts."""
        squares = means = torch.zeros(0)
        count = 0
        for rows in parts:
            if not count:
                groups, _, n = rows.shape
                squares = torch.zeros(groups, n, n)
                means = torch.zeros(groups, n, dtype=torch.float64)
            squares.baddbmm_(rows.transpose(1, 2), rows)
            means += rows.sum(1).double()
            count += rows.shape[1]
        if not count:
            return
        if not self.passes:
            root = (squares.diagonal(dim1=1, dim2=2) / count).sqrt()
            self.scale = torch.where(root > 0, 1 / root, 0.0)
            self.squares, self.means = torch.zeros_like(squares), torch.zeros_like(means)
        self.norms += self._norm(squares / count)
        self.squares += squares
        self.means += means
        self.count += count
        self.passes += 1

    def _norm(self, second: Tensor) -> float:
        """Sum of the squares beside the diagonal, in the scale of the first pass."""
        scaled = second * self.scale[:, :, None] * self.scale[:, None, :]
        whole = float(scaled.square().sum(dtype=torch.float64))
        return whole - float(scaled.diagonal(dim1=1, dim2=2).double().square().sum())

    def moments(self) -> Moments:
        """The moments over all passes, with the covariances shrunk."""
        mean = self.means / self.count
        second = self.squares / self.count
        outer = (mean[:, :, None] * mean[:, None, :]).float()
        covariance = second - outer
        kept = 1 - self._shrinkage(second, covariance)
        variances = covariance.diagonal(dim1=1, dim2=2).clone()
        covariance *= kept
        covariance.diagonal(dim1=1, dim2=2).copy_(variances)
        return Moments.of((covariance + outer).numpy(), mean.numpy())

    def _shrinkage(self, second: Tensor, covariance: Tensor) -> float:
        """The squared error of the mean over the passes, relative to the covariances: 0 to 1."""
        if self.passes < 2:
            return 0.0
        spread = self.norms - self.passes * self._norm(second)
        error = spread / (self.passes * (self.passes - 1))
        norm = self._norm(covariance)
        return min(max(error / norm, 0.0), 1.0) if norm > 0 else 0.0
