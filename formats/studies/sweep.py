"""A rate-distortion sweep: what each preset needs for one checkpoint, from error to error."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from ...codec.rate.recipe import PRESETS, Recipe
from ...codec.report.report import Report
from ..checkpoints.base import Checkpoint
from ..checkpoints.registry import open_checkpoint
from ..pack.pack import pack

ERRORS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)

Path = str | os.PathLike[str]
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """A checkpoint packed with one preset for one error.

    Attributes
    ----------
    preset : str
    max_error : float
        The error that was aimed at.
    relative_error : float
        The error that was achieved, over floating-point tensors of two or more dimensions.
    file_bytes : int
    ratio : float
        Bytes of the source's tensors over `file_bytes`.
    weights : int
        In tensors that do not come back exactly.
    weight_bits, gaussian_bits, laplacian_bits : float
        Bits a weight of these tensors: as coded, and what sources of their variances need at
        their total error, see `bounds`.
    """

    preset: str
    max_error: float
    relative_error: float
    file_bytes: int
    ratio: float
    weights: int
    weight_bits: float
    gaussian_bits: float
    laplacian_bits: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points of one checkpoint.

    Attributes
    ----------
    source : str
        The checkpoint's file.
    source_bytes : int
        All its tensors dense in their own dtype; tied ones once.
    points : tuple of SweepPoint
        By preset, each from small errors to large ones.
    """

    source: str
    source_bytes: int
    points: tuple[SweepPoint, ...]

    @property
    def presets(self) -> tuple[str, ...]:
        """The presets that were swept, in order."""
        return tuple(dict.fromkeys(point.preset for point in self.points))

    def curve(self, preset: str) -> list[SweepPoint]:
        """The points of one preset."""
        return [point for point in self.points if point.preset == preset]

    def to_dict(self) -> dict[str, Any]:
        """The sweep as plain values for JSON."""
        return dataclasses.asdict(self)


def sweep(
    source: Path | Checkpoint,
    presets: Sequence[str] | None = None,
    errors: Sequence[float] = ERRORS,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Pack a checkpoint with each preset for each error, into a temporary file.

    Parameters
    ----------
    source : path or Checkpoint
    presets : sequence of str, optional
        Of `recipe.PRESETS`; all of them by default.
    errors : sequence of float
        Relative squared errors to aim at.
    jobs, progress
        As those of `pack`; `progress` counts every tensor once a point.

    Raises
    ------
    DczError, OSError
        As `pack` does.
    """
    opened = nullcontext(source) if isinstance(source, Checkpoint) else open_checkpoint(source)
    with opened as checkpoint, tempfile.TemporaryDirectory(prefix="dcz-") as folder:
        points = []
        source_bytes = 0
        for preset in PRESETS if presets is None else presets:
            for error in sorted(errors):
                recipe = Recipe(preset=preset, max_error=error, error_of="model")
                dest = os.path.join(folder, "point.dcz")
                report = pack(checkpoint, dest, recipe, jobs=jobs, progress=progress)
                source_bytes = report.source_bytes
                points.append(_point(preset, error, report))
        return Sweep(checkpoint.path, source_bytes, tuple(points))


def _point(preset: str, max_error: float, report: Report) -> SweepPoint:
    weights = sum(t.numel for t in report.tensors if t.relative_error > 0 and not t.alias_of)
    return SweepPoint(
        preset=preset,
        max_error=max_error,
        relative_error=report.relative_error,
        file_bytes=report.file_bytes,
        ratio=report.ratio,
        weights=weights,
        weight_bits=report.approximate_bits / max(weights, 1),
        gaussian_bits=report.gaussian_bits / max(weights, 1),
        laplacian_bits=report.laplacian_bits / max(weights, 1),
    )
