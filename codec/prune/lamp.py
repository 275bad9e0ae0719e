"""How many weights of each tensor to prune for one sparsity of the model, whatever their scales.

A weight's score is its square over the sum of squares of all weights of its tensor that are no
smaller (LAMP: Lee, Park, Mo, Ahn and Shin 2021, *Layer-adaptive sparsity for the magnitude-based
pruning*, section 2), times what the tensor counts for. The lowest scores of the model are pruned.
A score does not change with the tensor's scale, it rises with the magnitude, and the greatest
weight of a tensor has the greatest score there is, so that no tensor loses all of its weights
before others have next to none.

Scores are told from histograms of magnitudes, a percent wide; how many weights that means is then
cut exactly in each tensor. Sums count squares as `fidelity.spread` does: outliers not at all, long
tails clipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..fidelity.spread import CLIPPED, clipped_mean, magnitudes
from ..weights import Weights

Floats = npt.NDArray[np.float64]


def ranks(tensors: Iterable[tuple[Weights, float, float]], sparsity: float) -> list[int]:
    """How many weights of each tensor to prune: floor(sparsity * all) together, never all of one.

    Parameters
    ----------
    tensors : iterable of (float32[numel] or float64[numel], float, float)
        Finite weights, the magnitude from which on they are outliers, and what losing the tensor
        counts for.
    sparsity : float
        0 <= sparsity < 1.
    """
    scores, counts, sizes = [], [], []
    for values, outlying, whole in tensors:
        score, count = _scores(values, outlying)
        scores.append(whole * score)
        counts.append(count)
        sizes.append(values.size)
    if not sizes:
        return []
    owners = np.repeat(np.arange(len(sizes)), [count.size for count in counts])
    order = np.argsort(np.concatenate(scores), kind="stable")
    lowest = _lowest(owners[order], np.concatenate(counts)[order], len(sizes), sparsity)
    return [min(rank, size - 1) for rank, size in zip(lowest, sizes, strict=True)]


def _lowest(
    owners: npt.NDArray[np.int64], counts: Floats, tensors: int, sparsity: float
) -> list[int]:
    """How many of the first weights, given by runs of one owner, are whose."""
    rank = math.floor(sparsity * float(np.cumsum(counts)[-1])) if counts.size else 0
    before = np.concatenate(([0.0], np.cumsum(counts)))[:-1]
    taken = np.clip(rank - before, 0, counts)
    found = np.zeros(tensors)
    np.add.at(found, owners, taken)
    return [int(number) for number in found]


def _scores(values: Weights, outlying: float) -> tuple[Floats, Floats]:
    """The score and the number of weights in each bin of magnitudes, zeros first."""
    squares, counts, edges = magnitudes(values)
    inside = edges < outlying
    most = CLIPPED * clipped_mean(squares[inside], counts[inside], CLIPPED)
    energies = np.where(inside, counts * np.minimum(squares, most), 0.0)
    left = np.cumsum(energies[::-1])[::-1]
    score = np.where(left > 0, squares / np.where(left > 0, left, 1.0), np.inf)
    zeros = values.size - float(np.cumsum(np.append(0.0, counts))[-1])
    return np.append(0.0, score), np.append(zeros, counts)
