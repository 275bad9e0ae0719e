"""Terms of a loss: the price of the bits that weights take, and the distance to a teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


class DistillationLoss(nn.Module):
    """alpha T**2 KL(teacher || student) at temperature T, and 1 - alpha of the cross-entropy.

    Hinton, Vinyals and Dean 2015, *Distilling the knowledge in a neural network*: the factor T**2
    keeps the gradients of soft targets at the scale of hard ones.
    """

    def __init__(self, temperature: float = 4.0, alpha: float = 0.9) -> None:
        """Set the two weights.

        Parameters
        ----------
        temperature : float
            T > 0; both distributions are softmax(logits / T).
        alpha : float
            Share of the teacher in the loss, 0 to 1.

        Raises
        ------
        ValueError
            Outside these ranges.
        """
        super().__init__()
        if temperature <= 0 or not 0 <= alpha <= 1:
            raise ValueError("the temperature must be above 0, and alpha within 0 and 1")
        self.temperature, self.alpha = temperature, alpha

    def forward(self, logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch.

        Parameters
        ----------
        logits, teacher_logits : float[n, classes]
        labels : int64[n]
        """
        soft = functional.log_softmax(logits / self.temperature, dim=1)
        target = functional.log_softmax(teacher_logits.detach() / self.temperature, dim=1)
        divergence = (target.exp() * (target - soft)).sum(1).mean()
        hard = functional.cross_entropy(logits, labels)
        return self.alpha * self.temperature**2 * divergence + (1 - self.alpha) * hard


def bits_of_counts(counts: Tensor) -> Tensor:
    """Bits of each symbol under the code that suits the counts; rarer than ever seen is half one.

    Parameters
    ----------
    counts : integer tensor [levels]
    """
    occurrences = counts.double().clamp(min=0.5)
    return occurrences.sum().log2() - occurrences.log2()


class RateLoss(nn.Module):
    """Bits of the weights under the current code: their cross-entropy, made differentiable.

    At a level a weight costs what the code charges for it, -log2 of the level's frequency when the
    code was last renewed; between two levels the price is interpolated, so that the gradient pulls
    towards the cheaper one. After entropy-constrained quantization (Chou, Lookabaugh and Gray
    1989) and Choi, El-Khamy and Lee 2016, *Towards the limit of network quantization*.

        loss = task_loss + 1e-6 * rate()          # and rate.renew() every few hundred steps
    """

    def __init__(self, weights: Mapping[str, Tensor], levels: Mapping[str, Tensor]) -> None:
        """Set the levels.

        Parameters
        ----------
        weights : mapping from a name to a float tensor
            What will be priced, such as a model's parameters.
        levels : mapping from the same names to float[levels]
            Where weights are going to lie, zero included; at least two for each tensor.

        Raises
        ------
        ValueError
            If a tensor has fewer than two levels.
        """
        super().__init__()
        self._weights = dict(weights)
        self.levels = {name: levels[name].detach().sort().values for name in self._weights}
        if any(len(values) < 2 for values in self.levels.values()):
            raise ValueError("the rate needs at least two levels a tensor")
        self.bits: dict[str, Tensor] = {}
        self.renew()

    @torch.no_grad()
    def renew(self) -> None:
        """Make the code again from the levels that are nearest to the weights now."""
        for name, weight in self._weights.items():
            levels = self.levels[name]
            nearest = torch.bucketize(weight.reshape(-1), (levels[1:] + levels[:-1]) / 2)
            counts = torch.bincount(nearest, minlength=len(levels))
            self.bits[name] = bits_of_counts(counts).to(weight.dtype)

    def forward(self) -> Tensor:
        """Bits of all weights together, a scalar."""
        prices = [
            interpolate(weight.reshape(-1), self.levels[name], self.bits[name]).sum()
            for name, weight in self._weights.items()
        ]
        return torch.stack(prices).sum()


def interpolate(values: Tensor, levels: Tensor, bits: Tensor) -> Tensor:
    """Price of each value, linear between ascending levels and constant outside them."""
    upper = torch.bucketize(values.detach(), levels).clamp(1, len(levels) - 1)
    low, high = levels[upper - 1], levels[upper]
    share = ((values - low) / (high - low)).clamp(0, 1)
    return bits[upper - 1] + share * (bits[upper] - bits[upper - 1])
