"""What a weight is worth: the lowest scores are pruned first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor | None], Tensor]

# How much of the mean of squared gradients a step keeps, once there were many.
DECAY = 0.998


def magnitude(weight: Tensor, squared_gradient: Tensor | None = None) -> Tensor:
    """|w|, as in Deep Compression (Han et al. 2016, section 2)."""
    return weight.abs()


def gradient(weight: Tensor, squared_gradient: Tensor | None) -> Tensor:
    """|w| sqrt(E g**2): the root of what removing it costs to second order.

    The Fisher information stands for the Hessian of optimal brain damage (LeCun, Denker and Solla
    1990; Theis et al. 2018).

    Raises
    ------
    ValueError
        Without gradients.
    """
    if squared_gradient is None:
        raise ValueError("the score 'gradient' needs gradients: make a step before pruning")
    return weight.abs() * squared_gradient.sqrt()


def lamp(weight: Tensor, squared_gradient: Tensor | None = None) -> Tensor:
    """w**2 over the sum of all squares in the tensor that are not smaller (Lee et al. 2021).

    Comparable between layers: the largest weight of each scores 1.
    """
    squares, order = weight.detach().double().square().reshape(-1).sort()
    at_least = squares.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(squares > 0, squares / at_least, 0.0)
    return scores.reshape(weight.shape)


def mean_square(gradient: Tensor, before: Tensor | None, count: int) -> Tensor:
    """Return the running mean of squared gradients, `before` being that of `count` - 1 of them.

    The first ones count alike, as in Adam (Kingma and Ba 2015): one batch says little.
    """
    square = gradient.detach().square()
    return square if before is None else before.lerp(square, max(1 - DECAY, 1 / count))


SCORES: dict[str, Score] = {"magnitude": magnitude, "gradient": gradient, "lamp": lamp}
