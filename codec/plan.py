"""Planning: what a recipe means for each tensor of a checkpoint, before anything is coded.

Planning looks at the weights where it must: for a threshold over several tensors, and for the
curves along which a slope is cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from dcz.codec import aims, allocate, kernels, share
from dcz.codec.allocate import Curve
from dcz.codec.errors import RecipeError
from dcz.codec.forecast import Forecast
from dcz.codec.frame import AnyArray, is_floating
from dcz.codec.metric import Metric
from dcz.codec.prune import Weights, cutoff_for_sparsity
from dcz.codec.recipe import DEFAULT_QUANTIZER, Recipe, Settings
from dcz.codec.share import ALREADY_SHARED
from dcz.codec.trellis import DEFAULT_STATES


class TensorSource(Protocol):
    """A tensor of the checkpoint to be packed; `read` may be called more than once."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    def read(self) -> AnyArray: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """What will be done with one tensor.

    Attributes
    ----------
    quantizer : str
        A key of `recipe.QUANTIZERS`; a "lossless" tensor comes back bit for bit.
    coder : str
        One of `recipe.CODERS`.
    cutoff : float
        The smallest magnitude that survives pruning.
    levels : int or None
        K-means: number of shared values besides zero; None to keep the survivors as they are.
    initialisation : str
        K-means: a key of `INITIALISATIONS`.
    states : int
        Trellis: number of states.
    slope : float or None
        Grid and trellis: the squared error that a bit has to save.
    metric : Metric or None
        What errors do to the network's output, where calibration tells.
    """

    quantizer: str
    coder: str = "huffman"
    cutoff: float = 0.0
    levels: int | None = None
    initialisation: str = "best"
    states: int = DEFAULT_STATES
    slope: float | None = None
    metric: Metric | None = None

    @property
    def share(self) -> bool:
        """Whether the tensor's weights may be changed."""
        return self.quantizer != "lossless"

    @property
    def follows_slope(self) -> bool:
        """Whether the model's slope decides its levels."""
        return self.share and self.levels is None


EXACT = TensorPlan("lossless")
# Tensors whose curves need not be exact, where a search only begins with them.
SMALL = 4096


class Planner:
    """What the tensors of a checkpoint get under a recipe, at any slope.

    Attributes
    ----------
    aim : Aim or None
        What the slope has to meet; None where no tensor's levels follow from it.
    start : int
        The number of a slope that may meet the aim.
    pruned_error : float
        Error that pruning leaves by itself, relative, which an aim does not count; none where
        errors are those of the output, since what is left makes up for what was pruned.
    calibrated : bool
        Whether errors are predicted ones of the output, and not those of the weights.
    """

    def __init__(
        self,
        tensors: Sequence[TensorSource],
        recipe: Recipe,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        """Look at the tensors, and what calibration says of each.

        Raises
        ------
        RecipeError
            If the recipe asks for something that the tensors cannot give.
        """
        settings = list(recipe.settings_by_name(tensor.name for tensor in tensors).values())
        plans = [_first_plan(t, s, recipe) for t, s in zip(tensors, settings, strict=True)]
        if metrics is not None:
            plans = [
                replace(plan, metric=metrics[tensor.name]) if plan.share else plan
                for tensor, plan in zip(tensors, plans, strict=True)
            ]
        self._plans = _prune(tensors, settings, plans, recipe)
        self._weights = [_weight(plan) for plan in self._plans]
        self._importances = [
            weight * _importance(t, s, recipe)
            for weight, t, s in zip(self._weights, tensors, settings, strict=True)
        ]
        survey = _survey(tensors, self._plans)
        self._curves = survey.curves
        self.calibrated = metrics is not None
        # What squared errors are divided by; those of the output are relative already.
        self._energy = 1.0 if self.calibrated else survey.energy or 1.0
        self.pruned_error = 0.0 if self.calibrated else survey.pruned_energy / self._energy
        # Slopes are in units of the mean square weight, so that their scale does not matter.
        self._unit = self._energy / survey.weights if survey.energy else 1.0
        self._weight_unit = survey.energy / survey.weights if survey.energy else 1.0
        self._weight_count = survey.weights
        self._names = [tensor.name for tensor in tensors]
        self.aim = _aim(tensors, recipe, survey) if self._curves else None
        self.start = self._estimated_start() if self.aim else 0

    def plans(self, number: int) -> list[TensorPlan]:
        """What to do with each tensor at the slope of a number."""
        result = list(self._plans)
        for place, curve in self._curves.items():
            slope = self._slope(number, place)
            if result[place].quantizer == "kmeans":
                levels = curve.at(slope).levels
                result[place] = replace(result[place], levels=levels or None)
            else:
                result[place] = replace(result[place], slope=slope)
        return result

    def slope(self, number: int) -> float:
        """The slope of a number: the squared error that a bit saves in a tensor of importance 1."""
        return self._unit * aims.slope_of(number)

    def moved_bits(self, number: int) -> dict[str, float]:
        """Bits that each tensor has more, by its curve, than with the same slope for all weights.

        The whole model has as many bits in both cases.
        """
        ours = {place: self._point(number, place).bits for place in self._curves}
        aim = aims.SizeAim(math.fsum(ours.values()) / 8, self._weight_count)

        def theirs(number: int) -> dict[int, float]:
            slope = self._weight_unit * aims.slope_of(number)
            return {place: curve.at(slope).bits for place, curve in self._curves.items()}

        plain = theirs(aims.search(lambda n: math.fsum(theirs(n).values()) / 8, aim, 0))
        return {self._names[place]: ours[place] - plain[place] for place in ours}

    def _slope(self, number: int, place: int) -> float:
        return self.slope(number) / self._importances[place]

    def _estimated_start(self) -> int:
        """Where the curves meet the aim: the coded model comes out a few percent off."""
        aim = self.aim
        assert aim is not None
        return aims.search(lambda n: aim.of(self.forecast.outcome(self.slope(n))), aim, 0)

    @cached_property
    def forecast(self) -> Forecast:
        """What the curves of the tensors that follow the slope tell."""
        return Forecast(self._curves, self._importances, self._weights, self._energy)

    def _point(self, number: int, place: int) -> allocate.Point:
        return self._curves[place].at(self._slope(number, place))


def _first_plan(tensor: TensorSource, settings: Settings, recipe: Recipe) -> TensorPlan:
    """The plan without what has to be looked up in the weights."""
    named = [rule.quantizer for rule in recipe.rules_for(tensor.name) if rule.quantizer]
    shared_by_name = bool(named) and named[-1] != "lossless"
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
    """What a squared error in a tensor adds to the error that is aimed at."""
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
        if not plans[number].share or setting.sparsity is None:
            continue
        own = any(rule.sparsity is not None for rule in recipe.rules_for(tensor.name))
        if recipe.scope == "global" and not own:
            together.append(number)
        else:
            cutoff = _cutoff([tensor], setting.sparsity)
            result[number] = replace(plans[number], cutoff=cutoff)
    if together and recipe.sparsity is not None:
        cutoff = _cutoff([tensors[number] for number in together], recipe.sparsity)
        for number in together:
            result[number] = replace(plans[number], cutoff=cutoff)
    return result


def _cutoff(tensors: Sequence[TensorSource], sparsity: float) -> float:
    """The cutoff of a sparsity over some tensors; those that stay as they are do not count."""
    counted = [t for t in tensors if share.prunable(kernels.summarize(share.widen(t.read())))]
    wide = any(tensor.dtype == np.float64 for tensor in counted)
    dtype = np.dtype(np.float64 if wide else np.float32)

    def weights() -> Iterator[Weights]:
        for tensor in counted:
            yield share.widen(tensor.read()).astype(dtype, copy=False)

    numel = sum(math.prod(tensor.shape) for tensor in counted)
    return cutoff_for_sparsity(weights, numel, sparsity, dtype)


@dataclass(slots=True)
class _Survey:
    """The curves of the tensors whose levels follow the slope, and sums over the model.

    Attributes
    ----------
    curves : dict from a tensor's number to its curve
    energy, weights
        Sum of squares and number of the weights of tensors of two or more dimensions.
    pruned_energy : float
        The part of `energy` that pruning takes away.
    """

    curves: dict[int, Curve] = field(default_factory=dict)
    energy: float = 0.0
    weights: int = 0
    pruned_energy: float = 0.0


def _survey(tensors: Sequence[TensorSource], plans: Sequence[TensorPlan]) -> _Survey:
    survey = _Survey()
    if not any(plan.follows_slope for plan in plans):
        return survey
    for number, (tensor, plan) in enumerate(zip(tensors, plans, strict=True)):
        matrix = len(tensor.shape) > 1
        if not is_floating(tensor.dtype) or not (matrix or plan.follows_slope):
            continue
        values = share.widen(tensor.read())
        summary = kernels.summarize(values)
        if not math.isfinite(summary.energy):
            continue
        if matrix:
            survey.energy += summary.energy
            survey.weights += values.size
            survey.pruned_energy += _pruned_energy(values, plan.cutoff)
        wanted = plan.follows_slope and share.shareable(summary)
        if wanted and share.survives(summary, plan.cutoff):
            survey.curves[number] = _curve(tensor, values, plan, summary)
    return survey


def _pruned_energy(values: Weights, cutoff: float) -> float:
    return kernels.summarize(values[np.abs(values) < cutoff]).energy if cutoff else 0.0


def _curve(
    tensor: TensorSource, values: Weights, plan: TensorPlan, summary: kernels.Summary
) -> Curve:
    rough = plan.quantizer != "kmeans" and plan.metric is None and not plan.cutoff
    if rough and values.size <= kernels.TINY:
        return allocate.typical(values.size, summary.energy, 8 * tensor.dtype.itemsize)
    if share.already_shared(tensor.read(), ALREADY_SHARED) is not None:
        return allocate.ALREADY_SHARED
    if rough and values.size <= SMALL:
        return allocate.typical(values.size, summary.energy, 8 * tensor.dtype.itemsize)
    shape = share.histogram(values, plan.cutoff, summary)
    return allocate.measure(shape, 8 * tensor.dtype.itemsize)


def _aim(tensors: Sequence[TensorSource], recipe: Recipe, survey: _Survey) -> aims.Aim:
    if recipe.target_size is not None:
        return aims.SizeAim(recipe.target_size, survey.weights)
    if recipe.target_ratio is not None:
        dense = sum(math.prod(t.shape) * t.dtype.itemsize for t in tensors)
        return aims.SizeAim(dense / recipe.target_ratio, survey.weights)
    return aims.ErrorAim(recipe.error_bound)
