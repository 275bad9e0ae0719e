"""A network whose outputs are compared before and after packing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from checkpoints import Arrays
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Measure:
    """A distance of outputs from the original's.

    Attributes
    ----------
    name : str
        What the distance is called in tables.
    between : callable
        Given the original's outputs and others, the distance: 0 where they are equal.
    of_classes : bool
        Whether outputs are logarithms of probabilities of classes, along the last axis.
    """

    name: str
    between: Callable[[Tensor, Tensor], float]
    of_classes: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """How far outputs are from the original's, and how often the likeliest class is the same."""

    error: float
    agreement: float | None


@dataclass(frozen=True)
class Network:
    """A network with its weights, inputs and a measure of its outputs.

    Attributes
    ----------
    name, kind : str
        What it is called, and what it works on.
    state : callable
        Gives the weights under the checkpoint's own names.
    outputs : callable
        Gives the outputs, for the network's fixed inputs, of weights under these names.
    measure : Measure
        How outputs are compared.
    held_out : bool
        Whether nothing in dcz was chosen by looking at this network.
    """

    name: str
    kind: str
    state: Callable[[], Arrays]
    outputs: Callable[[State], Tensor]
    measure: Measure
    held_out: bool = True

    @cached_property
    def reference(self) -> Tensor:
        """The original's outputs."""
        return self._outputs(self.state())

    def judge(self, state: Arrays) -> Judgement:
        """Compare the outputs of other weights with the original's."""
        outputs = self._outputs(state)
        error = self.measure.between(self.reference, outputs)
        if not self.measure.of_classes:
            return Judgement(error, None)
        same = self.reference.argmax(-1) == outputs.argmax(-1)
        return Judgement(error, float(same.double().mean()))

    def error(self, state: Arrays) -> float:
        """How far the outputs of other weights are from the original's."""
        return self.judge(state).error

    def _outputs(self, state: Arrays) -> Tensor:
        with torch.inference_mode():
            return self.outputs({name: torch.from_numpy(np.array(a)) for name, a in state.items()})


def about_mean(scores: Tensor, axis: int | None = None) -> Tensor:
    """Scores less their mean over an axis, or over all."""
    return scores - scores.mean(axis, keepdim=True)


def _divergence(original: Tensor, other: Tensor) -> float:
    return float((original.double().exp() * (original - other)).sum(-1).mean())


def _one_minus_cosine(original: Tensor, other: Tensor) -> float:
    return float(1 - functional.cosine_similarity(original.double(), other.double(), -1).mean())


def _relative_error(original: Tensor, other: Tensor) -> float:
    difference = (other - original).double().square().sum()
    return float(difference / original.double().square().sum())


DIVERGENCE = Measure("KL divergence", _divergence, of_classes=True)
COSINE = Measure("1 - cosine", _one_minus_cosine)
SQUARES = Measure("relative squared error", _relative_error)
