"""Iterative pruning around a training loop that need not know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .masks import Masks, from_torch_prune, prunable
from .schedules import Schedule
from .scores import SCORES, Score, mean_square
from .structure import UNITS, lowest, unit_scores, unit_size

SCOPES = ("global", "tensor")


class Pruner:
    """Prunes on a schedule and keeps at zero what was pruned, whatever the optimizer does.

    With an optimizer given, its every step is followed by one of the pruner, and the loop stays as
    it is. Gradients of pruned weights are zero, so that norms and momenta count survivors only;
    pruned weights never come back.

    Attributes
    ----------
    masks : dict from a parameter's name to bool tensor
        True where the weight survives.
    steps : int
        Steps that were made.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        score: str | Score = "magnitude",
        scope: str = "global",
        unit: str = "weight",
        biases: bool = False,
        select: str = "*",
        masks: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Begin to prune.

        Parameters
        ----------
        model : Module
            Masks of `torch.nn.utils.prune` that it has are taken over (`from_torch_prune`).
        schedule : Schedule
            A share of 0 at step 0 leaves the model as it is until the schedule says otherwise.
        optimizer : Optimizer, optional
            Without one, call `step` after every step of yours.
        score : "magnitude", "gradient", "lamp" or a callable
            What a weight is worth; a callable gets the weight and the running mean of its squared
            gradient, which is None before the first step.
        scope : "global" or "tensor"
            Whether the share is reached over all parameters together, or in each.
        unit : a key of `UNITS`
            What is pruned together: "weight", "row", "column", "filter", "channel" or "kernel".
        biases : bool
            Whether biases are pruned too.
        select : str
            Pattern of the parameters' names, as the shell matches files.
        masks : mapping, optional
            Where to start from, see `masks_of_zeros`.

        Raises
        ------
        ValueError
            If an option is unknown, or nothing can be pruned.
        """
        if scope not in SCOPES or unit not in UNITS:
            raise ValueError(f"scope {scope!r} or unit {unit!r} is unknown: {SCOPES}, {[*UNITS]}")
        self._score = SCORES[score] if isinstance(score, str) else score
        self._schedule, self._scope, self._unit = schedule, scope, unit
        given = from_torch_prune(model) | dict(masks or {})
        self._parameters = prunable(model, biases, select)
        self._watches_gradients = self._score not in (SCORES["magnitude"], SCORES["lamp"])
        self._squares: dict[str, Tensor] = {}
        self._pruned = {
            name: ~given[name] if name in given else torch.zeros_like(parameter, dtype=torch.bool)
            for name, parameter in self._parameters.items()
        }
        self.steps = 0
        self._hooks: list[Any] = [
            parameter.register_hook(_GradientMask(self._pruned, name))  # type: ignore[no-untyped-call]
            for name, parameter in self._parameters.items()
            if parameter.requires_grad
        ]
        if optimizer is not None:
            self._hooks.append(optimizer.register_step_post_hook(lambda *_: self.step()))
        self._follow_schedule()

    @property
    def masks(self) -> Masks:
        """Which weights survive, by the name of their parameter."""
        return {name: ~pruned for name, pruned in self._pruned.items()}

    @property
    def squared_gradients(self) -> dict[str, Tensor]:
        """Running mean of each weight's squared gradient, where the score needs it."""
        return dict(self._squares)

    @property
    def sparsity(self) -> float:
        """Share of the weights that are pruned."""
        pruned = sum(int(mask.sum()) for mask in self._pruned.values())
        return pruned / sum(mask.numel() for mask in self._pruned.values())

    def step(self) -> None:
        """Follow a step of the optimizer: set pruned weights to zero, prune what is due."""
        self.steps += 1
        if self._watches_gradients:
            self._watch_gradients()
        self._follow_schedule()

    def prune(self, share: float) -> None:
        """Prune until `share` of the weights are zero; more than that stays as it is."""
        names = list(self._parameters)
        together = [names] if self._scope == "global" else [[name] for name in names]
        for group in together:
            self._prune_group(group, share)
        self._hold()

    def restrict(self, masks: Mapping[str, Tensor]) -> None:
        """Prune what the masks exclude, a choice of yours, besides what is pruned already."""
        for name, kept in masks.items():
            self._pruned[name] = self._pruned[name] | ~kept
        self._hold()

    def finish(self) -> Masks:
        """Let go of model and optimizer and return the masks; zeros stay where they are."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._hold()
        return self.masks

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on after an interruption."""
        return {"steps": self.steps, "masks": self.masks, "squares": dict(self._squares)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called."""
        self.steps = state["steps"]
        self._squares = dict(state["squares"])
        for name, mask in state["masks"].items():
            self._pruned[name] = ~mask
        self._hold()

    def _follow_schedule(self) -> None:
        due = self._schedule.sparsity(self.steps)
        if due > (self._schedule.sparsity(self.steps - 1) if self.steps else 0.0):
            self.prune(due)
        else:
            self._hold()

    def _prune_group(self, names: list[str], share: float) -> None:
        scores, sizes, total = [], [], 0
        for name in names:
            parameter = self._parameters[name]
            score = self._score(parameter.detach(), self._squares.get(name))
            pruned = self._pruned[name]
            gone = unit_scores(pruned.double(), self._unit) == 1
            worth = unit_scores(score.double().masked_fill(pruned, 0), self._unit)
            scores.append(worth.masked_fill(gone, -torch.inf))
            sizes.append(unit_size(parameter, self._unit))
            total += parameter.numel()
        for name, chosen in zip(names, lowest(scores, sizes, round(share * total)), strict=True):
            self._pruned[name] = self._pruned[name] | chosen

    @torch.no_grad()
    def _hold(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.masked_fill_(self._pruned[name], 0)

    def _watch_gradients(self) -> None:
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                before = self._squares.get(name)
                self._squares[name] = mean_square(parameter.grad, before, self.steps)


class _GradientMask:
    """Zeroes the gradient of what is pruned."""

    def __init__(self, pruned: Masks, name: str) -> None:
        self._pruned, self._name = pruned, name

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient.masked_fill(self._pruned[self._name], 0)
