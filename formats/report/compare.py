"""Comparing two checkpoints tensor by tensor, bit for bit and by relative squared error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...codec.report.report import Report
from ...codec.wire.arrays import AnyArray, is_floating
from ..checkpoints.base import Checkpoint
from ..container.reader import Reader

_CHUNK = 1 << 20
# Errors are stored as float32 and summed in another order than here.
_ERROR_TOLERANCE = 1e-5

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """How one tensor of the second checkpoint differs from the first's.

    Attributes
    ----------
    name : str
    status : str
        ``equal``, ``changed``, ``missing`` (not in the second), ``added`` (not in the first),
        ``dtype`` or ``shape`` (these are not the same).
    squared_error, energy : float
        sum (a - b)**2 and sum a**2; NaN where the tensors cannot be subtracted.
    greatest : float
        The greatest absolute difference.
    floating_matrix : bool
        Whether it counts for the model's error: real floating point, two or more dimensions.
    """

    name: str
    status: str
    squared_error: float = 0.0
    energy: float = 0.0
    greatest: float = 0.0
    floating_matrix: bool = False

    @property
    def relative_error(self) -> float:
        """squared_error / energy; 0 where both are 0."""
        if self.squared_error == 0:
            return 0.0
        return self.squared_error / self.energy if self.energy else math.inf


def compare(
    first: Checkpoint, second: Checkpoint, progress: Progress | None = None
) -> list[Difference]:
    """Compare all tensors, in the first checkpoint's order, then what only the second has."""
    differences = []
    for name, info in first.tensors.items():
        differences.append(_compare_named(first, second, name))
        if progress is not None:
            progress(name, info.nbytes)
    added = (name for name in second.tensors if name not in first.tensors)
    return differences + [Difference(name, "added") for name in added]


def _compare_named(first: Checkpoint, second: Checkpoint, name: str) -> Difference:
    if name not in second.tensors:
        return Difference(name, "missing")
    a, b = first.tensors[name], second.tensors[name]
    if a.dtype != b.dtype:
        return Difference(name, "dtype")
    if a.shape != b.shape:
        return Difference(name, "shape")
    return compare_arrays(name, first.read(name), second.read(name))


def compare_arrays(name: str, a: AnyArray, b: AnyArray) -> Difference:
    """Compare two arrays of equal dtype and shape."""
    counts = is_floating(a.dtype) and a.ndim > 1
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    starts = range(0, flat_a.size, _CHUNK)
    chunks = [(flat_a[s : s + _CHUNK], flat_b[s : s + _CHUNK]) for s in starts]
    equal = all(np.array_equal(x.view(np.uint8), y.view(np.uint8)) for x, y in chunks)
    energy = sum(_energy(x) for x, _ in chunks) if counts else 0.0
    if equal:
        return Difference(name, "equal", energy=energy, floating_matrix=counts)
    if not is_floating(a.dtype) and a.dtype.kind not in "iu":
        return Difference(name, "changed", math.nan, math.nan, math.nan)
    with np.errstate(all="ignore"):  # infinities and NaN are for the reader of the numbers
        apart = [x.astype(np.float64) - y.astype(np.float64) for x, y in chunks]
    return Difference(
        name,
        "changed",
        squared_error=sum(float(np.dot(d, d)) for d in apart),
        energy=sum(_energy(x) for x, _ in chunks),
        greatest=max(float(np.max(np.abs(d))) for d in apart),
        floating_matrix=counts,
    )


def _energy(values: AnyArray) -> float:
    wide = values.astype(np.float64)
    return float(np.dot(wide, wide))


def model_error(differences: list[Difference]) -> float:
    """Relative squared error over the floating-point tensors of two or more dimensions."""
    counted = [d for d in differences if d.floating_matrix and math.isfinite(d.energy)]
    energy = sum(d.energy for d in counted)
    squared_error = sum(d.squared_error for d in counted)
    if squared_error == 0:
        return 0.0
    return squared_error / energy if energy else math.inf


def unexpected(archive: Reader, differences: list[Difference]) -> list[Difference]:
    """What a packed file may not differ in from its source.

    Exact tensors must be equal, all must be there, and no approximate one may be further off
    than the file says.
    """
    recorded = {
        name: entry.relative_error or 0.0 for name, entry in archive.container.index.tensors.items()
    }
    return [d for d in differences if not _expected(archive, d, recorded)]


def _expected(archive: Reader, difference: Difference, recorded: dict[str, float]) -> bool:
    if difference.status != "changed":
        return difference.status == "equal"
    bound = recorded[difference.name] * (1 + _ERROR_TOLERANCE)
    return not archive.is_exact(difference.name) and difference.relative_error <= bound


def measured(report: Report, differences: list[Difference]) -> Report:
    """The report with errors as measured against the source, instead of as recorded."""
    errors = {d.name: d.relative_error for d in differences}
    tensors = tuple(
        dataclasses.replace(t, relative_error=errors.get(t.name, t.relative_error))
        for t in report.tensors
    )
    return dataclasses.replace(report, tensors=tensors, relative_error=model_error(differences))
