"""How near one model's outputs are to another's."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .observe import Output, call, evaluating, keeping_buffers, pick

LOW = 0.05


@dataclass(frozen=True, slots=True)
class Fidelity:
    """A packed model's outputs against the original's, over the samples.

    Attributes
    ----------
    cosine, cosine_low : float
        Mean and 5th percentile of the cosine between the two outputs.
    kl, kl_high : float
        Mean and 95th percentile of the Kullback-Leibler divergence of the softmaxes, in nats.
    agreement : float
        Share of the samples whose greatest output is at the same place.
    error : float
        Sum of the squared differences over the sum of the original's squares, which packing
        with a calibration predicts.
    samples : int
    """

    cosine: float
    cosine_low: float
    kl: float
    kl_high: float
    agreement: float
    error: float
    samples: int

    def to_dict(self) -> dict[str, float]:
        """The figures as plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"cosine {self.cosine:.5f} (5th percentile {self.cosine_low:.5f}), "
            f"KL {self.kl:.3g} (95th {self.kl_high:.3g}), agreement {self.agreement:.3f}, "
            f"relative error {self.error:.3g}, {self.samples} samples"
        )


def compare(
    original: nn.Module, packed: nn.Module, inputs: Iterable[Any], output: Output | None
) -> Fidelity:
    """Run both models; see `dcz.calibration.fidelity`."""
    pairs = []
    with ExitStack() as stack:
        for model in (original, packed):
            stack.enter_context(evaluating(model))
            stack.enter_context(keeping_buffers(model))
        stack.enter_context(torch.no_grad())
        for batch in inputs:
            outputs = [pick(call(model, batch), output) for model in (original, packed)]
            pairs.append([_by_sample(found) for found in outputs])
    if not pairs:
        raise InputError("there are no inputs to compare with")
    first, second = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return _fidelity(first, second)


def _by_sample(output: Tensor) -> Tensor:
    return (output.flatten(1) if output.dim() > 1 else output[None]).double()


def _fidelity(first: Tensor, second: Tensor) -> Fidelity:
    cosine = functional.cosine_similarity(first, second, dim=1)
    logs = [functional.log_softmax(found, dim=1) for found in (first, second)]
    kl = (logs[0].exp() * (logs[0] - logs[1])).sum(1)
    error = (first - second).square().sum() / first.square().sum()
    agreement = (first.argmax(1) == second.argmax(1)).double()
    return Fidelity(
        cosine=float(cosine.mean()),
        cosine_low=float(cosine.quantile(LOW)),
        kl=float(kl.mean()),
        kl_high=float(kl.quantile(1 - LOW)),
        agreement=float(agreement.mean()),
        error=float(error),
        samples=len(first),
    )
