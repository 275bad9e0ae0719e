"""How sparsity grows over the steps of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Says how much has to be pruned after a step of the optimizer."""

    def sparsity(self, step: int) -> float:
        """Share of the weights that are zero after step `step`, counted from 1; never falls."""
        ...


@dataclass(frozen=True, slots=True)
class OneShot:
    """Everything at once, after the step `at`.

    Attributes
    ----------
    final : float
        Share of the weights, 0 to 1.
    at : int
        0 prunes before the first step.
    """

    final: float
    at: int = 0

    def __post_init__(self) -> None:
        _check_share(self.final)

    def sparsity(self, step: int) -> float:
        """See `Schedule`."""
        return self.final if step >= self.at else 0.0


@dataclass(frozen=True, slots=True)
class Steps:
    """Prune, retrain, prune more: the iterations of Han et al. 2015, *Learning both weights*.

    Attributes
    ----------
    stages : sequence of (int, float)
        From which step on which share of the weights is zero; both ascend.
    """

    stages: Sequence[tuple[int, float]]

    def __post_init__(self) -> None:
        for _, share in self.stages:
            _check_share(share)
        shares = [share for _, share in self.stages]
        if list(self.stages) != sorted(self.stages) or shares != sorted(shares):
            raise ValueError("stages: steps and shares must ascend")

    def sparsity(self, step: int) -> float:
        """See `Schedule`."""
        return max((share for start, share in self.stages if step >= start), default=0.0)


@dataclass(frozen=True, slots=True)
class Cubic:
    """Quickly at first, slowly at last: final + (initial - final) (1 - t)**3.

    Zhu and Gupta 2017, *To prune, or not to prune*, equation 1.

    Attributes
    ----------
    final : float
        Share of the weights, 0 to 1.
    begin, end : int
        Steps between which t goes from 0 to 1.
    initial : float
    every : int
        Steps from one pruning to the next.
    """

    final: float
    begin: int
    end: int
    initial: float = 0.0
    every: int = 1

    def __post_init__(self) -> None:
        _check_share(self.final)
        _check_share(self.initial)
        if not 0 <= self.begin < self.end or self.every < 1 or self.initial > self.final:
            raise ValueError("the ramp needs begin < end, every >= 1 and initial <= final")

    def sparsity(self, step: int) -> float:
        """See `Schedule`."""
        if step < self.begin:
            return 0.0
        left = 1 - _passed(step, self.begin, self.end, self.every)
        return self.final + (self.initial - self.final) * left**3


@dataclass(frozen=True, slots=True)
class Linear:
    """Evenly from 0 to `final` between two steps.

    Attributes
    ----------
    final : float
        Share of the weights, 0 to 1.
    begin, end : int
        The steps.
    every : int
        Steps from one portion to the next.
    """

    final: float
    begin: int
    end: int
    every: int = 1

    def __post_init__(self) -> None:
        _check_share(self.final)
        if not 0 <= self.begin < self.end or self.every < 1:
            raise ValueError("the ramp needs begin < end and every >= 1")

    def sparsity(self, step: int) -> float:
        """See `Schedule`."""
        return self.final * _passed(step, self.begin, self.end, self.every)


def _passed(step: int, begin: int, end: int, every: int) -> float:
    """Share of the ramp that lies behind, in portions of `every` steps; 1 from `end` on."""
    if step >= end:
        return 1.0
    return max(step - begin, 0) // every * every / (end - begin)


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{share} is no share of the weights: it must lie within 0 and 1")
