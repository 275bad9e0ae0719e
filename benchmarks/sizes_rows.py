"""Bytes at equal error: what each preset needs beside NNCodec, checkpoint by checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import checkpoints
import nncodec_bridge
import nncodec_points
import numpy as np
from checkpoints import Arrays
from equal_error import Bracket, Point, bracket

import dcz

# An error aimed at is met to within a preset's own precision, so aims go up and down by this.
AIM_STEP = 1.1


@dataclass(frozen=True, slots=True)
class Goal:
    """An error to compare sizes at.

    Attributes
    ----------
    checkpoint : str
        A key of `checkpoints.SOURCES` or `OTHERS`, or a path.
    error : float
        sum (w - w')^2 / sum w^2.
    limits : mapping from str to float
        By preset the greatest excess over NNCodec, in percent; one left out is only reported.
    """

    checkpoint: str
    error: float
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Checkpoint and error."""
        return f"{Path(self.checkpoint).stem} @ {self.error:.2e}"


def _limits(balanced: float, most: float, paper: float | None = None) -> dict[str, float]:
    limits = {"balanced": balanced, "max": most}
    return limits if paper is None else {"paper": paper, **limits}


GOALS = (
    Goal("efficientnet-lite0", 6.76e-4, _limits(3.5, -1.5, paper=8.0)),
    Goal("efficientnet-lite0", 5.73e-3, _limits(4.0, -2.0, paper=10.0)),
    Goal("efficientnet-lite0", 3.51e-2, _limits(4.0, -3.0, paper=20.0)),
    Goal("minilm-l6", 9.41e-3, _limits(4.0, -2.5, paper=9.0)),
    Goal("craft", 3.31e-3, _limits(5.0, -4.5)),
    Goal("craft", 2.63e-2, _limits(5.0, -6.0)),
    Goal("crepe", 3e-3),
)
OTHER_ERRORS = (1e-3, 1e-2)


def goals(only: Sequence[str], others: Sequence[Path]) -> list[Goal]:
    """Return the goals of some checkpoints, and two errors without limits for each other file."""
    chosen = [goal for goal in GOALS if goal.checkpoint in only]
    return chosen + [Goal(str(path), error) for path in others for error in OTHER_ERRORS]


def weights(checkpoint: str) -> Arrays:
    """Return a checkpoint's floating-point tensors of two or more dimensions, as fp32."""
    known = checkpoint in checkpoints.SOURCES | checkpoints.OTHERS
    path = checkpoints.fetch(checkpoint) if known else Path(checkpoint)
    load = nncodec_bridge.load_npz if path.suffix == ".npz" else checkpoints.load
    chosen = {n: a for n, a in load(path).items() if a.ndim > 1 and a.size and a.dtype.kind in "fV"}
    return {name: array.astype(np.float32, copy=False) for name, array in chosen.items()}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What was measured for a goal.

    Attributes
    ----------
    goal : Goal
    weights : int
    nncodec : Bracket or None
        None where NNCodec is not installed.
    presets : mapping from str to Bracket
    """

    goal: Goal
    weights: int
    nncodec: Bracket | None
    presets: Mapping[str, Bracket]

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Sizes:
        """From what `figures` gave."""
        presets = figures["presets"]
        limits = {n: p["at_most"] for n, p in presets.items() if p["at_most"] is not None}
        goal = Goal(figures["checkpoint"], figures["error"], limits)
        points = figures["nncodec_points"]
        return cls(
            goal,
            figures["weights"],
            None if points is None else Bracket.of(points),
            {name: Bracket.of(preset["points"]) for name, preset in presets.items()},
        )

    def bytes(self, preset: str) -> float:
        """Return a preset's bytes at the goal's error."""
        return self.presets[preset].bytes_at(self.goal.error)

    @property
    def nncodec_bytes(self) -> float:
        """NNCodec's bytes at the goal's error; NaN where it is not installed."""
        return math.nan if self.nncodec is None else self.nncodec.bytes_at(self.goal.error)

    def excess(self, preset: str) -> float:
        """Return how many percent more bytes than NNCodec's a preset needs."""
        return 100 * (self.bytes(preset) / self.nncodec_bytes - 1)

    def reached(self, preset: str) -> bool | None:
        """Tell whether a preset keeps its limit; None where there is none or nothing to compare."""
        limit = self.goal.limits.get(preset)
        return None if limit is None or self.nncodec is None else self.excess(preset) <= limit

    def figures(self) -> dict[str, Any]:
        """Return all of it by name."""
        compared = self.nncodec is not None
        return {
            "checkpoint": self.goal.checkpoint,
            "error": self.goal.error,
            "weights": self.weights,
            "nncodec_bytes": self.nncodec_bytes if compared else None,
            "nncodec_points": asdict(self.nncodec) if self.nncodec is not None else None,
            "presets": {
                name: {
                    "bytes": self.bytes(name),
                    "percent": self.excess(name) if compared else None,
                    "at_most": self.goal.limits.get(name),
                    "reached": self.reached(name),
                    "points": asdict(points),
                }
                for name, points in self.presets.items()
            },
        }


def measure(goal: Goal, arrays: Arrays, presets: Sequence[str], scratch: Path) -> Sizes:
    """Find the points on both sides of the goal's error, NNCodec's and each preset's."""
    nncodec = None
    if nncodec_bridge.available():
        start, growth = nncodec_points.near(goal.error), nncodec_points.GROWTH
        nncodec = bracket(lambda qp: nncodec_points.point(arrays, qp), goal.error, start, growth)
    found = {
        preset: bracket(_packing(arrays, preset, goal.error, scratch), goal.error, 0, AIM_STEP)
        for preset in presets
    }
    return Sizes(goal, sum(array.size for array in arrays.values()), nncodec, found)


def _packing(arrays: Arrays, preset: str, error: float, scratch: Path) -> Callable[[int], Point]:
    def point(step: int) -> Point:
        path = scratch / "measured.dcz"
        pack(arrays, preset, error * AIM_STEP**step, path)
        achieved = nncodec_bridge.relative_error(arrays, dcz.load_file(path))
        return Point(path.stat().st_size, achieved)

    return point


def pack(arrays: Arrays, preset: str, error: float, path: Path) -> None:
    """Pack weights with a preset that aims at an error."""
    dcz.save_file(arrays, path, dcz.Recipe(preset=preset, max_error=error, error_of="model"))
