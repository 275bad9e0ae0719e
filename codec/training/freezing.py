"""Incremental freezing: weights are fixed at the levels of a uniform grid, the cheapest first.

Rounding all weights at once leaves an error that nothing repairs. Here a few at a time are fixed
where that costs least, and the others train on to make up for it (Zhou et al. 2017, *Incremental
network quantization*, in smaller portions and chosen by the Fisher information).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .masks import prunable
from .schedules import Schedule
from .scores import mean_square

# A step has so few bits that its product with any level of 12 bits is exact in float32.
STEP_BITS = 12


class Freezer:
    """Fixes weights at multiples of one step per tensor, on a schedule, until all are fixed.

    Zeros are fixed from the start and stay zero. Steps come from the Fisher information: where the
    loss is twice as curved, a step is shorter by the root of two, which costs the least loss at
    equal bits (the reverse water-filling of a uniform quantizer at high rate). They go on learning
    slowly from the gradients of what is fixed.

    Attributes
    ----------
    steps : dict from a parameter's name to float
        Distance of a tensor's levels; empty until the first weights are fixed.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        mean_level: float = 3.0,
        biases: bool = True,
        select: str = "*",
        learning_rate: float = 1e-4,
    ) -> None:
        """Begin to freeze.

        Parameters
        ----------
        model : Module
        schedule : Schedule
            Share of the nonzero weights that are fixed after a step; the steps before the first
            ones are fixed serve to measure gradients, fifty at least.
        optimizer : Optimizer, optional
            Without one, call `step` after every step of yours.
        mean_level : float
            Mean distance of the weights from zero in steps: the coarseness of all grids together.
        biases, select
            As those of `Pruner`.
        learning_rate : float
            Of the steps' logarithms, 0 to leave them.
        """
        self._schedule, self._mean_level = schedule, mean_level
        self._parameters = prunable(model, biases, select)
        self._squares: dict[str, Tensor] = {}
        self._levels: dict[str, Tensor] = {}
        self._fixed = {name: p.detach() == 0 for name, p in self._parameters.items()}
        self._nonzero = sum(int((~fixed).sum()) for fixed in self._fixed.values())
        self._scales: dict[str, _Scale] = {}
        self._rate = learning_rate
        self._count = 0
        self._hooks: list[Any] = [
            parameter.register_hook(_Watcher(self, name))  # type: ignore[no-untyped-call]
            for name, parameter in self._parameters.items()
        ]
        if optimizer is not None:
            self._hooks.append(optimizer.register_step_post_hook(lambda *_: self.step()))

    @property
    def steps(self) -> dict[str, float]:
        """Distance of the levels of each tensor."""
        return {name: scale.step for name, scale in self._scales.items()}

    @property
    def share(self) -> float:
        """Share of the once nonzero weights that are fixed."""
        free = sum(int((~fixed).sum()) for fixed in self._fixed.values())
        return 1 - free / max(self._nonzero, 1)

    def step(self) -> None:
        """Follow a step of the optimizer: fixed weights stay at their level, more are fixed."""
        self._count += 1
        due = self._schedule.sparsity(self._count)
        if due > 0 and not self._scales:
            self._choose_steps()
        for name in self._scales:
            self._scales[name].learn(self._rate)
        count = round(due * self._nonzero) - round(self.share * self._nonzero)
        if count > 0:
            self._fix(count)
        self._hold()

    def finish(self) -> dict[str, float]:
        """Fix what is left, let go of the model, and return the steps."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        if not self._scales:
            self._choose_steps()
        self._fix(self._nonzero)
        for scale in self._scales.values():
            scale.round()
        self._hold()
        return self.steps

    def _choose_steps(self) -> None:
        """The steps that cost the least loss at the wanted mean level."""
        relative = {}
        total = 0.0
        for name, parameter in self._parameters.items():
            alive = ~self._fixed[name]
            if not alive.any():
                continue
            fisher = float(self._square(name)[alive].mean())
            relative[name] = 1 / math.sqrt(fisher) if fisher > 0 else 1.0
            total += float(parameter.detach().abs().sum()) / relative[name]
        coarse = total / max(self._nonzero, 1) / self._mean_level
        self._scales = {name: _Scale(coarse * step) for name, step in relative.items()}
        self._levels = {name: torch.zeros_like(self._parameters[name]) for name in relative}

    def _square(self, name: str) -> Tensor:
        return self._squares.get(name, torch.ones_like(self._parameters[name]))

    @torch.no_grad()
    def _fix(self, count: int) -> None:
        """Fix as many weights, those of the least Fisher information times squared distance."""
        costs = []
        for name, scale in self._scales.items():
            weight = self._parameters[name]
            away = weight / scale.step
            distance = (away - away.round()) * scale.step
            cost = self._square(name) * distance.square()
            costs.append(cost.masked_fill(self._fixed[name], torch.inf).reshape(-1))
        joined = torch.cat(costs)
        free = int(torch.isfinite(joined).sum())
        chosen = torch.zeros(len(joined), dtype=torch.bool, device=joined.device)
        chosen[joined.topk(min(count, free), largest=False).indices] = True
        for name, part in zip(self._scales, chosen.split([len(c) for c in costs]), strict=True):  # type: ignore[no-untyped-call]
            weight, mine = self._parameters[name], part.reshape(self._parameters[name].shape)
            levels = (weight[mine] / self._scales[name].step).round()
            self._levels[name][mine] = levels + 0.0  # -0.0 would be a value of its own
            self._fixed[name] |= mine

    @torch.no_grad()
    def _hold(self) -> None:
        for name, parameter in self._parameters.items():
            fixed = self._fixed[name]
            if name in self._scales:
                levels = self._levels[name] * self._scales[name].step
                parameter.copy_(torch.where(fixed, levels, parameter))
            else:
                parameter.masked_fill_(fixed, 0)

    def watch(self, name: str, gradient: Tensor) -> Tensor:
        """Take note of a gradient and return it without what is fixed."""
        self._squares[name] = mean_square(gradient, self._squares.get(name), self._count + 1)
        fixed = self._fixed[name]
        if name in self._scales:
            pull = float((gradient * self._levels[name])[fixed].sum())
            self._scales[name].pull = pull * self._scales[name].step
        return gradient.masked_fill(fixed, 0)


class _Watcher:
    """Hands a parameter's gradient to its freezer."""

    def __init__(self, freezer: Freezer, name: str) -> None:
        self._freezer, self._name = freezer, name

    def __call__(self, gradient: Tensor) -> Tensor:
        return self._freezer.watch(self._name, gradient)


class _Scale:
    """A step that learns: Adam on its logarithm (Kingma and Ba 2015).

    Attributes
    ----------
    step : float
    pull : float
        Derivative of the loss by the logarithm of the step, over what is fixed.
    """

    def __init__(self, step: float) -> None:
        self.step, self.pull = step, 0.0
        self._mean = self._square = 0.0
        self._count = 0

    def learn(self, rate: float) -> None:
        """Make one step of Adam."""
        self._count += 1
        self._mean += 0.1 * (self.pull - self._mean)
        self._square += 0.001 * (self.pull**2 - self._square)
        if self._square > 0:
            mean = self._mean / (1 - 0.9**self._count)
            root = math.sqrt(self._square / (1 - 0.999**self._count))
            self.step *= math.exp(-rate * mean / root)

    def round(self) -> None:
        """Drop the bits of the step that would make products inexact."""
        mantissa, exponent = math.frexp(self.step)
        self.step = math.ldexp(round(math.ldexp(mantissa, STEP_BITS)), exponent - STEP_BITS)
