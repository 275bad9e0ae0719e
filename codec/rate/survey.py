"""One look at all tensors before anything is coded: what are weights, and how far they spread."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import weights as codec_weights
from ..calibration.sensitivity import Metric
from ..fidelity.batch_norm import gains_of
from ..fidelity.counting import Measured, metrics_of
from ..fidelity.recognition import FEW_VALUES, why_exact
from ..fidelity.roles import Tied
from ..kernels import weights
from ..share import histogram, shared_tensor
from ..share.shared_tensor import ALREADY_SHARED
from ..tensor_plan import EXACT, TensorPlan
from ..weights import TensorSource, Weights
from ..wire.arrays import is_floating
from . import rd_curve
from .rd_curve import Curve

# Tensors whose curves need not be exact, where a search only begins with them.
SMALL = 4096


@dataclass(slots=True)
class Survey:
    """What the tensors of a checkpoint are, and sums over the model.

    Attributes
    ----------
    measured : dict from a tensor's name to Measured
        The tensors whose weights may be changed.
    exact : dict from a tensor's name to str
        Why others are kept as they are, or at least not counted.
    energy : float
        Sum of squares of floating-point tensors of two and more dimensions, masks and all.
    numel : int
        Number of their elements.
    """

    measured: dict[str, Measured] = field(default_factory=dict)
    exact: dict[str, str] = field(default_factory=dict)
    energy: float = 0.0
    numel: int = 0

    @classmethod
    def of(
        cls, tensors: Sequence[TensorSource], plans: Sequence[TensorPlan], named: Collection[str]
    ) -> Survey:
        """Look at the tensors. Those that the recipe names are weights whatever they look like."""
        survey = cls()
        if any(plan.share for plan in plans):
            for tensor, plan in zip(tensors, plans, strict=True):
                survey._add(tensor, plan, named=tensor.name in named)
        return survey

    def _add(self, tensor: TensorSource, plan: TensorPlan, *, named: bool) -> None:
        matrix = len(tensor.shape) > 1
        if not is_floating(tensor.dtype) or not (matrix or plan.share):
            return
        array = tensor.read()
        values = codec_weights.widen(array)
        summary = weights.summarize(values)
        if matrix and math.isfinite(summary.energy):
            self.energy += summary.energy
            self.numel += values.size
        if not plan.share:
            return
        reason = None if named else why_exact(tensor.name, array, summary)
        if reason is not None:
            self.exact[tensor.name] = reason
        elif codec_weights.shareable(summary):
            found = Measured.of(tensor.name, tensor.shape, values, summary)
            self.measured[tensor.name] = found

    def metrics(
        self, error_of: str, tensors: Sequence[TensorSource], tied: Tied
    ) -> Mapping[str, Metric]:
        """What errors count for: of "layers" by their roles, or of the "model" as one sum."""
        if error_of == "layers":
            energies = {name: found.spread.energy for name, found in self.measured.items()}
            gains = gains_of(tensors, energies)
            return metrics_of(list(self.measured.values()), tied, gains)
        every = np.array([1 / self.energy if self.energy else 1.0])
        return {
            name: Metric(every, whole=float(every[0]) * found.spread.energy)
            for name, found in self.measured.items()
        }

    def plan(self, name: str, plan: TensorPlan, metric: Metric | None) -> TensorPlan:
        """A tensor's plan, with what was found out about it."""
        if name in self.exact and self.exact[name] != FEW_VALUES:
            return replace(EXACT, coder=plan.coder)
        if name not in self.measured:
            return plan
        return replace(plan, metric=metric, outlying=self.measured[name].spread.outlying)


def curves_of(
    tensors: Sequence[TensorSource], plans: Sequence[TensorPlan]
) -> tuple[dict[int, Curve], float]:
    """Rate-distortion curves of the tensors whose levels follow the slope, by their number.

    Also the error that pruning leaves in all of them by itself, as it is counted.
    """
    curves: dict[int, Curve] = {}
    pruned: list[float] = []
    if not any(plan.follows_slope for plan in plans):
        return curves, 0.0
    for number, (tensor, plan) in enumerate(zip(tensors, plans, strict=True)):
        if not plan.share or not (plan.cutoff or plan.follows_slope):
            continue
        values = codec_weights.widen(tensor.read())
        if plan.cutoff and plan.metric is not None:
            pruned.append(_pruned_error(values, plan.cutoff, plan.metric))
        if plan.follows_slope:
            curve = _curve(tensor, values, plan)
            if curve is not None:
                curves[number] = curve
    return curves, math.fsum(pruned)


def _pruned_error(values: Weights, cutoff: float, metric: Metric) -> float:
    pruned = np.where(np.abs(values) < cutoff, values, np.zeros((), values.dtype))
    return metric.error_of_rows(weights.sum_rows(pruned, metric.rows.size)[1])


def _curve(tensor: TensorSource, values: Weights, plan: TensorPlan) -> Curve | None:
    """The curve of the weights that survive; None for a tensor that stays as it is."""
    metric = plan.metric
    if _is_rough(plan) and metric is not None and metric.whole and values.size <= SMALL:
        energy = metric.whole / metric.importance
        return rd_curve.typical(values.size, energy, 8 * tensor.dtype.itemsize)
    if plan.outlying < math.inf:
        values = values[np.abs(values) < plan.outlying]
    summary = weights.summarize(values)
    if not codec_weights.shareable(summary) or not codec_weights.survives(summary, plan.cutoff):
        return None
    if shared_tensor.already_shared(tensor.read(), ALREADY_SHARED) is not None:
        return rd_curve.ALREADY_SHARED
    return rd_curve.measure(
        histogram.histogram(values, plan.cutoff, summary), 8 * tensor.dtype.itemsize
    )


def _is_rough(plan: TensorPlan) -> bool:
    """Whether a curve only tells where a search begins, since all of the tensor counts alike."""
    flat = plan.metric is not None and plan.metric.is_flat
    return flat and plan.quantizer != "kmeans" and not plan.cutoff and plan.outlying == math.inf
