"""What the speed benchmark measured, and its page: a row for each target, then every time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from results import table
from timing import Samples


@dataclass(frozen=True, slots=True)
class Row:
    """A figure beside its target.

    Attributes
    ----------
    what, on : str
        What was measured, and on which checkpoint or data.
    measured : float
    best : float or None
        The same from the least times instead of the medians: how far noise went.
    target : float or None
        None where nothing was promised.
    unit : str
    at_most : bool
        Whether the target is an upper limit.
    """

    what: str
    on: str
    measured: float
    target: float | None = None
    unit: str = "x"
    at_most: bool = False
    best: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None without one."""
        if self.target is None:
            return None
        return self.measured <= self.target if self.at_most else self.measured >= self.target

    def figures(self) -> dict[str, Any]:
        """Return all of it by name."""
        return {**asdict(self), "reached": self.reached}


@dataclass(slots=True)
class Experiment:
    """Contestants that were timed in turn, and what follows from their times.

    Attributes
    ----------
    title : str
    weights : int
        How many weights each contestant worked on; 0 where that says nothing.
    seconds : Samples
        Each contestant's seconds in the order of the rounds.
    rows : list of Row
    remarks : list of str
    """

    title: str
    weights: int = 0
    seconds: Samples = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Return a contestant's median seconds."""
        return statistics.median(self.seconds[name])

    def per_weight(self, name: str) -> float:
        """Return a contestant's median seconds a weight."""
        return self.median(name) / self.weights

    def add(self, what: str, measured: float, target: float | None = None, unit: str = "x") -> None:
        """Add a figure that should be at least the target."""
        self.rows.append(Row(what, self.title, measured, target, unit))

    def limit(self, what: str, measured: float, target: float | None, unit: str = "x") -> None:
        """Add a figure that should be at most the target."""
        self.rows.append(Row(what, self.title, measured, target, unit, at_most=True))

    def compare(self, what: str, name: str, other: str, target: float | None = None) -> None:
        """Add how many times faster `name` was than `other`, if both were timed."""
        if name in self.seconds and other in self.seconds:
            ratio = self.median(other) / self.median(name)
            best = min(self.seconds[other]) / min(self.seconds[name])
            self.rows.append(Row(what, self.title, ratio, target, best=best))

    def figures(self) -> dict[str, Any]:
        """Return all of it by name."""
        return {
            "title": self.title,
            "weights": self.weights,
            "seconds": self.seconds,
            "rows": [row.figures() for row in self.rows],
            "remarks": self.remarks,
        }


ABOUT = (
    "Written by `python benchmarks/speed.py`. Ratios are of medians of the same run, in which all"
    " contestants of a group took turns after a warm-up; more is faster unless a target says"
    ' "at most". The last column has the same ratios of the least times. One core unless a row'
    " says two. References decompress into reused memory where dcz does. A target that was missed"
    " says no."
)


def page(experiments: Sequence[Experiment], about: Sequence[str]) -> str:
    """Return the page: the figures with a target, those without, then all times."""
    head = ["# The speed of dcz", ABOUT, "\n".join(f"* {line}" for line in about)]
    return "\n\n".join([*head, *sections(experiments)]) + "\n"


def sections(experiments: Sequence[Experiment]) -> list[str]:
    """Return the page's parts from the targets on."""
    rows = [row for experiment in experiments for row in experiment.rows]
    remarks = [f"* {each.title}: {remark}" for each in experiments for remark in each.remarks]
    return [
        "## Targets",
        table(_WITH, [_with_target(row) for row in rows if row.target is not None]),
        "## Other figures",
        table(
            _WITHOUT,
            [(row.what, row.on, _figure(row), _best(row)) for row in rows if row.target is None],
        ),
        "## Times",
        table(_TIMES, [line for experiment in experiments for line in _times(experiment)]),
        *(["## Remarks", "\n".join(remarks)] if remarks else []),
    ]


_WITH = ("what", "on", "measured", "target", "reached", "of least times")
_WITHOUT = ("what", "on", "measured", "of least times")
_TIMES = ("on", "contestant", "median ms", "least ms", "runs", "ns a weight")


def _with_target(row: Row) -> tuple[str, ...]:
    bound = "at most" if row.at_most else "at least"
    reached = "yes" if row.reached else "**no**"
    return row.what, row.on, _figure(row), f"{bound} {row.target:g} {row.unit}", reached, _best(row)


def _best(row: Row) -> str:
    return "" if row.best is None else f"{row.best:.3g} {row.unit}"


def _figure(row: Row) -> str:
    digits = ".3g" if abs(row.measured) < 100 else ",.0f"
    return f"{row.measured:{digits}} {row.unit}"


def _times(experiment: Experiment) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for name, seconds in experiment.seconds.items():
        middle = statistics.median(seconds)
        each = f"{middle / experiment.weights * 1e9:.3g}" if experiment.weights else ""
        times = (f"{middle * 1e3:.2f}", f"{min(seconds) * 1e3:.2f}", str(len(seconds)))
        lines.append((experiment.title, name, *times, each))
    return lines
