"""Planning: what a recipe means for each tensor of a checkpoint, before anything is coded.

Planning looks at the weights where it must: for a threshold over several tensors, and for the
curves along which a slope is cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from .. import weights as share
from ..calibration.sensitivity import Metric
from ..errors import RecipeError
from ..fidelity.roles import Tied
from ..kernels import weights as kernels
from ..prune import lamp
from ..prune.magnitude import cutoff_for_sparsity, cutoff_of_rank
from ..tensor_plan import EXACT, TensorPlan
from ..weights import TensorSource, Weights
from ..wire.arrays import is_floating
from ..wire.trellis_states import DEFAULT_STATES
from . import rd_curve, target
from .forecast import Forecast
from .recipe import DEFAULT_QUANTIZER, Recipe, Settings
from .survey import Survey, curves_of

# What a tensor may lose, in relative errors that are aimed at for the model.
MOST_TIMES = 30.0


class Planner:
    """What the tensors of a checkpoint get under a recipe, at any slope.

    Attributes
    ----------
    aim : Aim or None
        What the slope has to meet; None where no tensor's levels follow from it.
    start : int
        The number of a slope that may meet the aim.
    pruned_error : float
        Error that pruning leaves by itself, as it is counted, which an aim does not mind; none
        where errors are those of the output, since what is left makes up for what was pruned.
    calibrated : bool
        Whether errors are predicted ones of the output, and not those of the weights.
    exact : mapping from a tensor's name to str
        Why tensors of several dimensions are kept as they are, or not counted.
    unpruned : tuple of str
        Tensors that a sparsity would have emptied, and that keep their weights instead.
    whole : dict from a tensor's name to float
        What it would count for to lose the tensor altogether.
    """

    def __init__(
        self,
        tensors: Sequence[TensorSource],
        recipe: Recipe,
        metrics: Mapping[str, Metric] | None = None,
        tied: Tied | None = None,
    ) -> None:
        """Look at the tensors, and what calibration says of each.

        Raises
        ------
        RecipeError
            If the recipe asks for something that the tensors cannot give.
        """
        settings = list(recipe.settings_by_name(tensor.name for tensor in tensors).values())
        firsts = [_first_plan(t, s, recipe) for t, s in zip(tensors, settings, strict=True)]
        named = {t.name for t in tensors if recipe.shares_by_name(t.name)}
        survey = Survey.of(tensors, firsts, named)
        self.exact = survey.exact
        self.calibrated = metrics is not None
        counted = (
            metrics if metrics is not None else survey.metrics(recipe.error_of, tensors, tied or {})
        )
        plans = [
            survey.plan(tensor.name, plan, counted.get(tensor.name))
            for tensor, plan in zip(tensors, firsts, strict=True)
        ]
        cut = _prune(tensors, settings, plans, recipe)
        self._plans, self.unpruned = _spare(tensors, plans, cut)
        self.whole = {
            tensor.name: plan.metric.whole
            for tensor, plan in zip(tensors, plans, strict=True)
            if plan.metric is not None and plan.metric.whole
        }
        self._weights = [_weight(plan) for plan in self._plans]
        absolute = recipe.sensitivity is not None
        self._importances = [
            (1.0 if absolute else weight) * _importance(t, s, recipe)
            for weight, t, s in zip(self._weights, tensors, settings, strict=True)
        ]
        self._curves, pruned = curves_of(tensors, self._plans)
        self.pruned_error = 0.0 if self.calibrated else pruned
        # Slopes are in units of what an average weight counts for, so that scales do not matter.
        self._weight_count = survey.numel
        self._weight_unit = survey.energy / survey.numel if survey.energy else 1.0
        self._unit = self._weight_unit if absolute else 1 / max(survey.numel, 1)
        self._names = [tensor.name for tensor in tensors]
        self.aim = _aim(tensors, recipe, survey.numel) if self._curves else None
        self._bound(recipe)
        self.start = self._estimated_start() if self.aim else 0

    def plans(self, number: int) -> list[TensorPlan]:
        """What to do with each tensor at the slope of a number."""
        result = list(self._plans)
        for place in self._curves:
            result[place] = self.plan(number, place)
        return result

    def plan(self, number: int, place: int) -> TensorPlan:
        """What to do with a tensor that follows the slope."""
        slope, plan = self._slope(number, place), self._plans[place]
        if plan.quantizer != "kmeans":
            return replace(plan, slope=slope)
        return replace(plan, levels=self._curves[place].at(slope).levels or None)

    def slope(self, number: int) -> float:
        """The slope of a number: what a bit saves of the error that is counted."""
        return self._unit * target.slope_of(number)

    def moved_bits(self, number: int) -> dict[str, float]:
        """Bits that each tensor has more, by its curve, than with the same slope for all weights.

        The whole model has as many bits in both cases.
        """
        ours = {place: self._point(number, place).bits for place in self._curves}
        aim = target.SizeAim(math.fsum(ours.values()) / 8, self._weight_count)

        def theirs(number: int) -> dict[int, float]:
            slope = self._weight_unit * target.slope_of(number)
            return {place: curve.at(slope).bits for place, curve in self._curves.items()}

        plain = theirs(target.search(lambda n: math.fsum(theirs(n).values()) / 8, aim, 0))
        return {self._names[place]: ours[place] - plain[place] for place in ours}

    def _slope(self, number: int, place: int) -> float:
        return min(self.slope(number) / self._importances[place], self._steepest[place])

    def _bound(self, recipe: Recipe) -> None:
        """Let no tensor lose more than `MOST_TIMES` the error that is aimed at."""
        self._steepest = dict.fromkeys(self._curves, math.inf)
        if not isinstance(self.aim, target.ErrorAim) or recipe.error_of == "model":
            return
        most = min(MOST_TIMES * self.aim.goal, 1.0)
        for place, curve in self._curves.items():
            metric = self._plans[place].metric
            if metric is not None and metric.whole is not None:
                counted = most * metric.whole
                self._steepest[place] = curve.slope_for(counted / self._weights[place])
                if not self._plans[place].cutoff:
                    self._plans[place] = replace(self._plans[place], most_error=counted)

    def _estimated_start(self) -> int:
        """Where the curves meet the aim: the coded model comes out a few percent off."""
        aim = self.aim
        assert aim is not None

        return target.search(lambda n: aim.of(self.forecast.outcome(self.slope(n))), aim, 0)

    @cached_property
    def forecast(self) -> Forecast:
        """What the curves of the tensors that follow the slope tell."""
        return Forecast(self._curves, self._importances, self._weights, self._steepest)

    def _point(self, number: int, place: int) -> rd_curve.Point:
        return self._curves[place].at(self._slope(number, place))


def _first_plan(tensor: TensorSource, settings: Settings, recipe: Recipe) -> TensorPlan:
    """The plan without what has to be looked up in the weights."""
    shared_by_name = recipe.shares_by_name(tensor.name)
    floating = is_floating(tensor.dtype) and tensor.dtype.itemsize > 1
    coder = recipe.coder_for(settings)
    if settings.quantizer == "lossless" or not floating:
        if shared_by_name:
            raise RecipeError(f"{tensor.dtype} tensors cannot be shared", tensor=tensor.name)
        return replace(EXACT, coder=coder)
    if len(tensor.shape) < 2 and not shared_by_name:
        return replace(EXACT, coder=coder)
    return TensorPlan(
        quantizer=settings.quantizer or DEFAULT_QUANTIZER,
        coder=coder,
        cutoff=settings.threshold or 0.0,
        levels=settings.level_count,
        initialisation=settings.initialisation or "best",
        states=settings.states or DEFAULT_STATES,
    )


def _weight(plan: TensorPlan) -> float:
    """What a squared error in a tensor adds to the error that is aimed at; 1 where none arises."""
    if plan.metric is None:
        return 1.0
    compensation = 1.0 if plan.quantizer == "kmeans" else plan.metric.compensation
    return plan.metric.importance * compensation


def _importance(tensor: TensorSource, settings: Settings, recipe: Recipe) -> float:
    """What a squared error in the tensor counts for. Raises RecipeError unless it is positive."""
    importance = settings.importance or 1.0
    if recipe.sensitivity is not None and is_floating(tensor.dtype):
        given = np.asarray(recipe.sensitivity(tensor.name, tensor.read()), np.float64)
        importance *= math.fsum(given.reshape(-1).tolist()) / max(given.size, 1)
    if not 0 < importance < math.inf:
        raise RecipeError(f"importance {importance} is not positive", tensor=tensor.name)
    return importance


def _prune(
    tensors: Sequence[TensorSource],
    settings: Sequence[Settings],
    plans: Sequence[TensorPlan],
    recipe: Recipe,
) -> list[TensorPlan]:
    """Turn sparsities into cutoffs: over all tensors that share the recipe's own, or in each."""
    result = list(plans)
    together = []
    for number, (tensor, setting) in enumerate(zip(tensors, settings, strict=True)):
        if not plans[number].share or setting.sparsity is None or not _prunable(tensor):
            continue
        own = any(rule.sparsity is not None for rule in recipe.rules_for(tensor.name))
        if recipe.scope != "tensor" and not own:
            together.append(number)
        else:
            cutoff = _cutoff([tensor], setting.sparsity)
            result[number] = replace(plans[number], cutoff=cutoff)
    if together and recipe.sparsity is not None:
        chosen = [tensors[number] for number in together]
        if recipe.scope == "global":
            cutoffs = [_cutoff(chosen, recipe.sparsity)] * len(chosen)
        else:
            cutoffs = _cutoffs_by_score(chosen, [plans[n] for n in together], recipe.sparsity)
        for number, cutoff in zip(together, cutoffs, strict=True):
            result[number] = replace(plans[number], cutoff=cutoff)
    return result


def _spare(
    tensors: Sequence[TensorSource], plans: Sequence[TensorPlan], pruned: Sequence[TensorPlan]
) -> tuple[list[TensorPlan], tuple[str, ...]]:
    """The pruned plans without those of sparsities that leave a tensor no weight, and its name.

    A threshold that the user gave is kept.
    """
    result, names = list(pruned), []
    for number, (tensor, plan) in enumerate(zip(tensors, pruned, strict=True)):
        if plan.cutoff != plans[number].cutoff and _is_emptied(tensor, plan.cutoff):
            result[number] = plans[number]
            names.append(tensor.name)
    return result, tuple(names)


def _is_emptied(tensor: TensorSource, cutoff: float) -> bool:
    summary = kernels.summarize(share.widen(tensor.read()))
    return share.shareable(summary) and not share.survives(summary, cutoff)


def _prunable(tensor: TensorSource) -> bool:
    return share.prunable(kernels.summarize(share.widen(tensor.read())))


def _cutoffs_by_score(
    tensors: Sequence[TensorSource], plans: Sequence[TensorPlan], sparsity: float
) -> list[float]:
    """A cutoff for each tensor, so that the weights of the lowest scores fall below."""
    scored = (
        (share.widen(tensor.read()), plan.outlying, _whole(plan))
        for tensor, plan in zip(tensors, plans, strict=True)
    )
    cutoffs = []
    for tensor, rank in zip(tensors, lamp.ranks(scored, sparsity), strict=True):
        cutoffs.append(_cutoff_of_rank(tensor, rank))
    return cutoffs


def _cutoff_of_rank(tensor: TensorSource, rank: int) -> float:
    values = share.widen(tensor.read())
    return cutoff_of_rank(lambda: [values], values.size, rank, values.dtype)


def _whole(plan: TensorPlan) -> float:
    """What losing a tensor counts for; 1 where that is not known."""
    return plan.metric.whole if plan.metric is not None and plan.metric.whole else 1.0


def _cutoff(tensors: Sequence[TensorSource], sparsity: float) -> float:
    """The cutoff of a sparsity over some tensors."""
    wide = any(tensor.dtype == np.float64 for tensor in tensors)
    dtype = np.dtype(np.float64 if wide else np.float32)

    def weights() -> Iterator[Weights]:
        for tensor in tensors:
            yield share.widen(tensor.read()).astype(dtype, copy=False)

    numel = sum(math.prod(tensor.shape) for tensor in tensors)
    return cutoff_for_sparsity(weights, numel, sparsity, dtype)


def _aim(tensors: Sequence[TensorSource], recipe: Recipe, numel: int) -> target.Aim:
    if recipe.target_size is not None:
        return target.SizeAim(recipe.target_size, numel)
    if recipe.target_ratio is not None:
        dense = sum(math.prod(t.shape) * t.dtype.itemsize for t in tensors)
        return target.SizeAim(dense / recipe.target_ratio, numel)
    return target.ErrorAim(recipe.error_bound)
