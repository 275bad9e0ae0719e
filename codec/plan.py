"""Planning: what a recipe means for each tensor of a checkpoint, before anything is coded.

Planning looks at the weights where it must: for a threshold over several tensors, and for the
number of levels that keeps the model's error within a bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from dcz.codec import allocate, kernels, share
from dcz.codec.errors import RecipeError
from dcz.codec.frame import AnyArray, is_floating
from dcz.codec.prune import Weights, cutoff_for_sparsity
from dcz.codec.recipe import Recipe, Settings
from dcz.codec.share import ALREADY_SHARED


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
    share : bool
        Whether its weights may be changed; if not, it comes back bit for bit.
    cutoff : float
        The smallest magnitude that survives pruning.
    levels : int or None
        Number of shared values besides zero; None if the error decides.
    error : float or None
        Squared error that sharing may leave, if the error decides.
    initialisation : str
        A key of `INITIALISATIONS`.
    """

    share: bool
    cutoff: float = 0.0
    levels: int | None = None
    error: float | None = None
    initialisation: str = "best"


EXACT = TensorPlan(share=False)


def plan(tensors: Sequence[TensorSource], recipe: Recipe) -> list[TensorPlan]:
    """Decide what to do with each tensor.

    Raises
    ------
    RecipeError
        If the recipe asks for something that the tensors cannot give.
    """
    settings = [recipe.settings_for(tensor.name) for tensor in tensors]
    plans = [_first_plan(t, s, recipe) for t, s in zip(tensors, settings, strict=True)]
    plans = _prune(tensors, settings, plans, recipe)
    return _allocate(tensors, plans, recipe)


def _first_plan(tensor: TensorSource, settings: Settings, recipe: Recipe) -> TensorPlan:
    named = any(rule.quantizer == "kmeans" for rule in recipe.rules_for(tensor.name))
    floating = is_floating(tensor.dtype) and tensor.dtype.itemsize > 1
    if settings.quantizer == "lossless" or not floating:
        if named:
            raise RecipeError(f"{tensor.dtype} tensors cannot be shared", tensor=tensor.name)
        return EXACT
    if len(tensor.shape) < 2 and not named:
        return EXACT
    return TensorPlan(
        share=True,
        cutoff=settings.threshold or 0.0,
        levels=settings.level_count,
        initialisation=settings.initialisation or "best",
    )


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


def _allocate(
    tensors: Sequence[TensorSource], plans: Sequence[TensorPlan], recipe: Recipe
) -> list[TensorPlan]:
    """Give levels to the tensors that have none, so that the model's error stays in bounds."""
    open_numbers = [n for n, plan in enumerate(plans) if plan.share and plan.levels is None]
    if not open_numbers:
        return list(plans)
    curves = {}
    energy = 0.0
    for number, tensor in enumerate(tensors):
        if not is_floating(tensor.dtype) or (len(tensor.shape) < 2 and number not in open_numbers):
            continue
        values = share.widen(tensor.read())
        summary = kernels.summarize(values)
        if not math.isfinite(summary.energy):
            continue
        energy += summary.energy if len(tensor.shape) > 1 else 0.0
        cutoff = plans[number].cutoff
        wanted = number in open_numbers and share.shareable(summary)
        if wanted and share.survives(summary, cutoff):
            curves[number] = _curve(tensor, values, cutoff, summary)
    points = allocate.choose_levels(list(curves.values()), recipe.error_bound * energy)
    result = list(plans)
    for number, point in zip(curves, points, strict=True):
        result[number] = replace(plans[number], levels=point.levels, error=point.error)
    return result


def _curve(
    tensor: TensorSource, values: Weights, cutoff: float, summary: kernels.Summary
) -> list[allocate.Point]:
    if share.already_shared(tensor.read(), ALREADY_SHARED) is not None:
        return [allocate.Point(levels=1, bits=0.0, error=0.0)]
    return allocate.curve(share.histogram(values, cutoff, summary), 8 * tensor.dtype.itemsize)
