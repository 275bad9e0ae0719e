"""The stages prune and share for one tensor, as its plan says: k-means, a grid or a trellis.

Where calibration knows what goes into a layer, errors then make up for each other.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .. import weights as codec_weights
from ..calibration.sensitivity import Floats32, RowClasses
from ..errors import RecipeError
from ..kernels import weight_arguments, weights
from ..tensor_plan import TensorPlan
from ..weights import TensorSource, Weights
from ..wire import grid_book
from ..wire.arrays import AnyArray
from ..wire.code_table import MAX_ALPHABET
from ..wire.codebook import MAX_LEVELS
from ..wire.row_classes import MAX_CLASSES
from . import histogram, kmeans, uniform, uniform_per_row
from .error_feedback import compensate
from .histogram import POSITIONS
from .kmeans import INITIALISATIONS
from .shared_tensor import SharedTensor
from .trellis import feedback, per_row, quantize
from .trellis.feedback import Compensation
from .uniform import GridTensor
from .uniform_per_row import SteppedTensor

GREATEST_STEP = float(np.finfo(np.float32).max)


def prunes(few: SharedTensor, cutoff: float) -> bool:
    """Whether a cutoff makes any of a codebook's values zero."""
    magnitudes = np.abs(few.codebook.astype(np.float64))
    return bool(np.any((magnitudes > 0) & (magnitudes < cutoff)))


def prune_and_share(
    tensor: TensorSource,
    values: Weights,
    summary: weight_arguments.Summary,
    plan: TensorPlan,
    few: SharedTensor | None,
) -> SharedTensor | None:
    """The surviving weights under a codebook; their own values where they are few already."""
    if few is None and plan.outlying < math.inf:
        return _beside_outliers(tensor, values, plan)
    zeros = summary.zeros > 0 or plan.cutoff > 0
    if not codec_weights.survives(summary, plan.cutoff):
        nothing = np.zeros(0, tensor.dtype)
        return kmeans.assign(values, np.inf, nothing, zeros=True)
    if few is not None:
        survivors = kmeans.surviving_values(few.codebook, plan.cutoff)
        return kmeans.assign(values, plan.cutoff, survivors, zeros=zeros)
    if plan.quantizer == "trellis" and not _compensates(plan):
        shared = _share_by_trellis(tensor, values, summary, plan)
        if shared is not None:
            return shared
    if plan.slope is not None:
        return _share_on_grid(tensor, values, summary, plan, zeros=zeros)
    if plan.levels is None:
        return None
    levels = min(plan.levels, MAX_LEVELS - zeros)
    shape = histogram.histogram(values, plan.cutoff, summary, levels)
    centroids = INITIALISATIONS[plan.initialisation](shape, levels)
    codebook = kmeans.make_codebook(shape, centroids, tensor.dtype)
    return kmeans.assign(values, plan.cutoff, codebook, zeros=zeros)


def _beside_outliers(
    tensor: TensorSource, values: Weights, plan: TensorPlan
) -> SharedTensor | None:
    """Weights under a codebook that has the outliers, too, as they are."""
    outlying = np.abs(values) >= plan.outlying
    others = np.where(outlying, np.zeros((), values.dtype), values)
    quantizer = "grid" if plan.quantizer == "trellis" else plan.quantizer
    body = replace(plan, outlying=math.inf, quantizer=quantizer)
    shared = prune_and_share(tensor, others, weights.summarize(others), body, None)
    if shared is None:
        return None
    kept = np.unique(values[outlying])
    first = shared.codebook.size
    indices = shared.indices.astype(np.uint16 if first + kept.size > 256 else np.uint8)
    indices[outlying] = first + np.searchsorted(kept, values[outlying])
    codebook = np.concatenate([shared.codebook, kept.astype(tensor.dtype)])
    # Zero stays first where it is the zero of gaps; codebooks ascend otherwise.
    zero = int(shared.has_zero)
    order = np.concatenate([np.arange(zero), zero + np.argsort(codebook[zero:], kind="stable")])
    place = np.argsort(order).astype(indices.dtype)
    return SharedTensor(place[indices], codebook[order], shared.has_zero)


def _compensates(plan: TensorPlan) -> bool:
    """Whether errors can make up for each other."""
    return plan.metric is not None and plan.metric.factors is not None


def _share_on_grid(
    tensor: TensorSource,
    values: Weights,
    summary: weight_arguments.Summary,
    plan: TensorPlan,
    *,
    zeros: bool,
) -> SharedTensor | None:
    """The grid that suits the slope; one too fine for rate-distortion rounding rounds plainly."""
    assert plan.slope is not None
    if plan.metric is not None:
        by_rows = _share_by_rows(tensor, values, plan)
        if by_rows is not None:
            return by_rows
    step = grid_step(plan)
    levels = (summary.maximum - summary.minimum) / step if step else math.inf
    greatest = max(summary.maximum, -summary.minimum)
    if levels < MAX_ALPHABET - 1 and greatest < step * (grid_book.MAX_LOWEST - 2):
        return uniform.quantize(_kept(values, plan), tensor.shape, step, dtype=tensor.dtype)
    if levels > MAX_LEVELS - 2:
        return None
    shape = histogram.histogram(values, plan.cutoff, summary)
    apart = step / (shape.high - shape.low) * POSITIONS
    positions = np.asarray(apart * np.arange(math.floor(levels) + 1), np.float64)
    codebook = kmeans.make_codebook(shape, positions, tensor.dtype)
    return kmeans.assign(values, plan.cutoff, codebook, zeros=zeros)


def grid_step(plan: TensorPlan) -> float:
    """The step of a grid that suits the plan's slope."""
    assert plan.slope is not None
    return _step_for(plan.slope, uniform.SLOPE_FACTOR)


def _step_for(slope: float, factor: float) -> float:
    """The step that suits a slope, as a file holds it: a float32, and a finite one."""
    return float(np.float32(min(math.sqrt(slope / factor), GREATEST_STEP)))


def _steps_for(rows: RowClasses, slope: float, factor: float) -> list[float]:
    """The step that suits a slope in each class of rows."""
    return [_step_for(slope / importance, factor) for importance in rows.importances]


def _share_by_trellis(
    tensor: TensorSource, values: Weights, summary: weight_arguments.Summary, plan: TensorPlan
) -> SharedTensor | None:
    """The trellis that suits the slope; None if its steps would be too many."""
    assert plan.slope is not None
    factor = quantize.SAVING_FACTOR
    shared = _share_by_row_trellis(tensor, values, plan, factor)
    step = _step_for(plan.slope, factor)
    greatest = max(summary.maximum, -summary.minimum)
    if shared is None and step and greatest / step <= quantize.MOST_STEPS:
        shared = quantize.quantize(
            _kept(values, plan), tensor.shape, step, plan.states, tensor.dtype
        )
    # Rounding up may lead past a narrow dtype's greatest number.
    finite = shared is not None and np.isfinite(shared.codebook.astype(np.float64)).all()
    return shared if finite else None


def _share_by_row_trellis(
    tensor: TensorSource, values: Weights, plan: TensorPlan, factor: float
) -> SharedTensor | None:
    """A trellis with steps by rows; None where one step is as good, or some are too fine."""
    assert plan.slope is not None
    rows = _row_classes(tensor, values, plan)
    if rows is None:
        return None
    steps = _steps_for(rows, plan.slope, factor)
    kept = _kept(values, plan)
    try:
        return per_row.quantize(kept, tensor.shape, steps, rows.classes, plan.states, tensor.dtype)
    except ValueError:
        return None


def _kept(values: Weights, plan: TensorPlan) -> Weights:
    """The weights, with zero in place of what is pruned."""
    pruned = _pruned(values, plan)
    return values if pruned is None else np.where(pruned, 0, values)


def _pruned(values: Weights, plan: TensorPlan) -> AnyArray | None:
    """Where weights are pruned, bool[numel]; None if nowhere."""
    return np.abs(values) < plan.cutoff if plan.cutoff else None


def _share_by_rows(tensor: TensorSource, values: Weights, plan: TensorPlan) -> SharedTensor | None:
    """A grid for each class of rows; None where one for all is as good, or some are too fine."""
    assert plan.slope is not None and plan.metric is not None
    rows = plan.metric.row_classes(values.size)
    if plan.coder == "huffman" or rows is None or not uniform_per_row.takes_rows(tensor.shape):
        return None
    steps = _steps_for(rows, plan.slope, uniform.SLOPE_FACTOR)
    try:
        return uniform_per_row.quantize(
            _kept(values, plan), tensor.shape, steps, rows.classes, tensor.dtype
        )
    except RecipeError:
        return None


def compensated(
    tensor: TensorSource, values: Weights, shared: SharedTensor, plan: TensorPlan
) -> SharedTensor:
    """Indices by which errors make up for each other, if that lowers the output's error."""
    if plan.metric is None or plan.metric.factors is None:
        return shared
    if not isinstance(shared, GridTensor | SteppedTensor):
        return shared
    pruned = _pruned(values, plan)
    better = compensate(shared, values, tensor.shape, plan.metric.factors, pruned)
    errors = [
        plan.metric.error(changes(values, weights.take(found.indices, found.codebook)))
        for found in (shared, better)
    ]
    return better if errors[1] < errors[0] else shared


def compensated_along_trellis(
    tensor: TensorSource, values: Weights, plan: TensorPlan
) -> SharedTensor | None:
    """The tensor by a trellis that runs through its columns; None where it has no such."""
    if plan.quantizer != "trellis" or plan.metric is None or plan.slope is None:
        return None
    factors, step = plan.metric.factors, _step_for(plan.slope, quantize.SAVING_FACTOR)
    if factors is None or not feedback.takes_columns(tensor.shape, len(factors)) or not step:
        return None
    compensation = Compensation(plan.states, factors, _pruned(values, plan))
    rows = _row_classes(tensor, values, plan)
    found: SharedTensor
    try:
        if rows is None:
            found = feedback.quantize(values, tensor.shape, step, compensation, tensor.dtype)
        else:
            steps = _steps_for(rows, plan.slope, quantize.SAVING_FACTOR)
            found = feedback.quantize_by_rows(
                values, tensor.shape, steps, rows.classes, compensation, tensor.dtype
            )
    except ValueError:
        return None
    return found if np.isfinite(found.codebook.astype(np.float64)).all() else None


def _row_classes(tensor: TensorSource, values: Weights, plan: TensorPlan) -> RowClasses | None:
    """Rows that a trellis gives half steps of their own; None where one step is as good."""
    if plan.metric is None or not uniform_per_row.takes_rows(tensor.shape):
        return None
    return plan.metric.row_classes(values.size, MAX_CLASSES)


def changes(values: Weights, decoded: AnyArray) -> Floats32:
    """What decoding gives less what was there: float32[numel]."""
    return np.asarray(decoded.astype(np.float32) - values.astype(np.float32))
