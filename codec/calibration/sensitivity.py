"""What errors in a tensor do to the network's output: the metric that calibration gives.

A change E of a tensor moves the output, to first order, by sum over its rows r of
s_r e_r M e_r^T on average: s_r says what errors in the row count for, and M, from the second
moments of what the rows are multiplied with, how errors within it add up; for an embedding, whose
rows are multiplied with nothing, from those of the output's gradients to them. Without M the
squared errors of a row are summed up alone.

The part that decides a step is made of exactly rounded operations: all machines find the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..entropy import log2
from ..kernels import weights as kernels
from .record import Calibration, Moments, Sensed

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
AnyFloats = npt.NDArray[np.floating[Any]]

MOST_CLASSES = 8
# What rows have of the tensor's mean, so that none is without bits.
SHRINKAGE = 0.1
# Of the mean diagonal, as in GPTQ; more where that does not make the moments definite.
DAMPING = (0.01, 0.1, 1.0)
# Bits that a class of rows costs: its codebook, and its tables and segments by their number.
CLASS_BITS = 1500
# Classes of rows take time to decode: they must save this many bits a weight.
WORTH = 0.02
_SMALL = 64
# The squares of numbers up to this, summed up, are far from float32's end.
SQUARED_BY_FLOAT32 = 1e15


@dataclass(frozen=True, slots=True, eq=False)
class RowClasses:
    """Rows put together that count for about as much.

    Attributes
    ----------
    classes : uint8[rows]
        Each from 0 to the greatest is used.
    importances : tuple of float
        What a squared error in a row of the class counts for, against the tensor's mean.
    """

    classes: npt.NDArray[np.uint8]
    importances: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """The Cholesky factor of an inverse, in the order in which columns are quantized.

    Attributes
    ----------
    order : int64[n]
        Columns, the one with the largest moment first.
    upper : float32[n, n]
        U with U^T U = M^-1 in that order.
    variances : float64[n]
        What is left of each column's moment when those after it make up for its error.
    """

    order: npt.NDArray[np.int64]
    upper: Floats32
    variances: Floats

    @property
    def weights(self) -> Floats:
        """What an error in each column counts for, 1 on average: float64[n]."""
        return np.asarray(self.variances / self.variances.mean())


def group_slices(rows: int, groups: int) -> list[slice]:
    """The rows of each group of a tensor."""
    size = rows // groups
    return [slice(start, start + size) for start in range(0, groups * size, size)]


class Metric:
    """What errors in one tensor do to the output.

    Parameters
    ----------
    rows : float64[rows]
        Relative output error for a squared error in a row; a single one where rows count alike.
    moments : Moments, optional
        Of what the rows are multiplied with.
    centred : bool
        Whether a change of the output's mean is made good elsewhere, and does not count.
    whole : float or None
        What it counts for to lose the tensor altogether, where that is known.
    """

    def __init__(
        self,
        rows: Floats,
        moments: Moments | None = None,
        *,
        centred: bool = False,
        whole: float | None = None,
    ) -> None:
        self.rows = rows
        self.moments = moments
        self.centred = centred
        self.whole = whole

    @cached_property
    def importance(self) -> float:
        """What a squared error in the tensor counts for on average."""
        return math.fsum(self.rows.tolist()) / max(self.rows.size, 1)

    @property
    def is_flat(self) -> bool:
        """Whether all weights of the tensor count alike."""
        return self.moments is None and self.rows.size == 1

    @cached_property
    def second(self) -> Floats32 | None:
        """M, with a mean diagonal of 1 in each group so that `rows` keep their meaning."""
        if self.moments is None:
            return None
        second = self.moments.covariance() if self.centred else self.moments.second()
        means = np.trace(second, axis1=1, axis2=2) / second.shape[1]
        second /= np.where(means > 0, means, 1)[:, None, None]
        return second.astype(np.float32)

    @cached_property
    def factors(self) -> tuple[Factor, ...] | None:
        """The factor of each group's moments; None without moments, or where they have none."""
        if self.second is None:
            return None
        found = [_factor(group) for group in self.second]
        return tuple(f for f in found if f is not None) if None not in found else None

    @property
    def compensation(self) -> float:
        """How much of the error compensation leaves, roughly, at one step."""
        if self.factors is None:
            return 1.0
        return float(np.mean([f.variances.mean() for f in self.factors]))

    def error_of_rows(self, errors: Floats) -> float:
        """What squared errors of each row, float64[rows], count for without moments."""
        return math.fsum((self.rows * errors).tolist())

    def error(self, changes: Floats32) -> float:
        """The predicted relative output error for changes, float32[numel], of the weights."""
        if self.moments is None:
            return self.error_of_rows(kernels.sum_rows(changes, self.rows.size)[1])
        rows: AnyFloats = changes.reshape(self.rows.size, -1)
        if max(rows.max(initial=0), -rows.min(initial=0)) > SQUARED_BY_FLOAT32:
            rows = rows.astype(np.float64)
        assert self.second is not None
        slices = group_slices(self.rows.size, len(self.second))
        total = 0.0
        for own, second in zip(slices, self.second, strict=True):
            moved = np.einsum("rn,rn->r", rows[own] @ second, rows[own])
            total += float(self.rows[own] @ moved)
        return max(total, 0.0)

    def shift(self, changes: Floats32) -> Floats | None:
        """How far changes move the mean of what each row makes: float64[rows]."""
        if self.moments is None or not self.centred:
            return None
        assert self.moments.mean is not None
        mean = self.moments.mean.astype(np.float64)
        groups = changes.astype(np.float64).reshape(len(mean), -1, mean.shape[1])
        return np.asarray(np.einsum("grn,gn->gr", groups, mean).reshape(-1), np.float64)

    def row_classes(self, numel: int, most: int = MOST_CLASSES) -> RowClasses | None:
        """Rows in at most so many octaves of importance, if steps of their own save enough bits.

        At high rates a step that suits a row of importance s instead of the mean's saves half a
        bit for each octave between them.
        """
        if self.rows.size == 1:
            return None
        octaves = np.floor(log2(float(self.rows.max())) - log2(self.rows)).astype(np.int64)
        _, classes = np.unique(np.minimum(octaves, most - 1), return_inverse=True)
        count = int(classes.max()) + 1
        sizes = np.bincount(classes, minlength=count)
        means = [math.fsum(self.rows[classes == k].tolist()) / sizes[k] for k in range(count)]
        relative = np.array(means) / self.importance
        saved = -0.5 * math.fsum((sizes * log2(relative)).tolist()) / self.rows.size
        if count < 2 or saved * numel < WORTH * numel + CLASS_BITS * count:
            return None
        return RowClasses(classes.astype(np.uint8), tuple(float(r) for r in relative))


def _factor(moments: Floats32) -> Factor | None:
    n = len(moments)
    order = np.argsort(-np.diagonal(moments), kind="stable")
    ordered = moments[np.ix_(order, order)].astype(np.float64)
    for damping in DAMPING:
        try:
            # With the columns backwards the inverse's upper factor is that of the moments.
            damped = ordered + damping * np.eye(n)
            lower = np.asarray(np.linalg.cholesky(damped[::-1, ::-1]), np.float64)
        except np.linalg.LinAlgError:
            continue
        upper = _inverse(lower)[::-1, ::-1]
        if np.isfinite(upper).all():
            variances = 1 / np.square(np.diagonal(upper))
            return Factor(order, upper.astype(np.float32), variances)
    return None


def _inverse(lower: Floats) -> Floats:
    """The inverse of a lower triangular matrix, by halves."""
    n = len(lower)
    if n <= _SMALL:
        return np.asarray(np.linalg.inv(lower))
    half = n // 2
    inverse = np.zeros_like(lower)
    first, last = _inverse(lower[:half, :half]), _inverse(lower[half:, half:])
    inverse[:half, :half], inverse[half:, half:] = first, last
    inverse[half:, :half] = -last @ (lower[half:, :half] @ first)
    return inverse


def metrics_of(
    calibration: Calibration, shapes: Mapping[str, tuple[int, ...]], centred: Collection[str] = ()
) -> dict[str, Metric]:
    """The metric of each tensor.

    A tensor that the output never depended on, or that calibration does not know, counts for as
    much as the median of the others, so that it stays useful for what calibration did not see.

    Parameters
    ----------
    calibration : Calibration
    shapes : mapping from a tensor's name to its shape
        All of the checkpoint.
    centred : collection of str
        The tensors whose changes of the output's mean are made good elsewhere.
    """
    usual = _usual(calibration) / calibration.energy
    found = {}
    for name, shape in shapes.items():
        sensed = calibration.tensors.get(name)
        if sensed is None or not sensed.rows.any():
            found[name] = Metric(np.full(shape[0] if shape else 1, usual))
            continue
        moments = calibration.moments.get(sensed.moments or "")
        rows = (1 - SHRINKAGE) * sensed.rows.astype(np.float64) + SHRINKAGE * _mean(sensed)
        found[name] = Metric(rows / calibration.energy, moments, centred=name in centred)
    return found


def unseen(calibration: Calibration, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The matrices that the output never depended on, or that calibration does not know."""
    known = {name for name, sensed in calibration.tensors.items() if sensed.rows.any()}
    return [name for name, shape in shapes.items() if len(shape) > 1 and name not in known]


def _usual(calibration: Calibration) -> float:
    means = sorted(_mean(sensed) for sensed in calibration.tensors.values() if sensed.rows.any())
    return means[len(means) // 2]


def _mean(sensed: Sensed) -> float:
    return math.fsum(sensed.rows.tolist()) / max(sensed.rows.size, 1)
