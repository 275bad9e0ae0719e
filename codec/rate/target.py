"""Aims: the slope at which a model comes out with the error, or of the size, that was asked for.

A slope is what a bit is worth: the squared error that one more bit has to save, the lambda of
D + lambda R. A model that is cut at one slope everywhere has the least error of all that take as
many bits (Shoham and Gersho 1988). Error rises and size falls with the slope, so that a search
along it meets either aim.

Slopes are numbered, 256 to the octave. Numbers are found by exactly rounded operations alone, and
so are the slopes behind them: all machines end at the same one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

from ..entropy import log2

PER_OCTAVE = 256
# From a slope that leaves nothing of a float32 to one that prunes all there is.
LEAST, GREATEST = -52 * PER_OCTAVE, 20 * PER_OCTAVE
TOLERANCE = 0.01
# A search heads for the middle of what is tolerated.
_MIDDLE = 1 - TOLERANCE / 2
_NOTHING = 2.0**-100
# Attempts after which every other one halves the range: the curve may be stairs.
_PATIENCE = 6


@cache
def slope_of(number: int) -> float:
    """The slope of a number: 2**(number / 256), equal on every machine."""
    octave, part = divmod(number, PER_OCTAVE)
    fraction, root = 1.0, 2.0
    for bit in reversed(range(8)):
        root = math.sqrt(root)
        if part >> bit & 1:
            fraction *= root
    return math.ldexp(fraction, octave)


def number_of(slope: float) -> int:
    """The number whose slope is nearest to a given one, within the range of a search."""
    return _clamp(_nearest(PER_OCTAVE * _log2(slope)))


class Outcome(NamedTuple):
    """What came of a slope: the file's size in bytes, and the relative squared error."""

    size: int
    error: float


class Aim(Protocol):
    """What a model should come out with.

    Attributes
    ----------
    goal : float
        The most that is allowed.
    rises : bool
        Whether the quantity rises with the slope.
    """

    @property
    def goal(self) -> float: ...  # noqa: D102
    @property
    def rises(self) -> bool: ...  # noqa: D102
    def of(self, outcome: Outcome) -> float:
        """The quantity that is aimed at."""

    def away(self, value: float) -> int:
        """How many numbers the goal is from where `value` was measured, roughly."""

    def out_of_reach(self, nearest: Outcome) -> str:
        """What to tell the user when even the nearest outcome misses the goal."""


@dataclass(frozen=True, slots=True)
class ErrorAim:
    """A relative squared error of at most `goal`."""

    goal: float
    rises: bool = True

    def of(self, outcome: Outcome) -> float:
        """The error."""
        return outcome.error

    def away(self, value: float) -> int:
        """As at high rates, where the error is proportional to the slope."""
        return _nearest(PER_OCTAVE * (_log2(self.goal * _MIDDLE) - _log2(value)))

    def out_of_reach(self, nearest: Outcome) -> str:
        """The least error there is."""
        return (
            f"a relative squared error of {self.goal:g} is out of reach: {nearest.error:.3g} is not"
        )


@dataclass(frozen=True, slots=True)
class SizeAim:
    """A file of at most `goal` bytes, `weights` of whose elements may be changed."""

    goal: float
    weights: int
    rises: bool = False

    def of(self, outcome: Outcome) -> float:
        """The size."""
        return outcome.size

    def away(self, value: float) -> int:
        """As at high rates, where half a bit a weight is an octave."""
        bits = 8 * (value - self.goal * _MIDDLE) / max(self.weights, 1)
        return _nearest(2 * PER_OCTAVE * bits)

    def out_of_reach(self, nearest: Outcome) -> str:
        """The least size there is."""
        goal = math.floor(self.goal)
        return f"a file of {goal:,} bytes is out of reach: this recipe needs {nearest.size:,}"


def search(measure: Callable[[int], float], aim: Aim, start: int) -> int:
    """The number of a slope that meets an aim, to within `TOLERANCE` where numbers are that fine.

    Parameters
    ----------
    measure : callable
        Error or size at a number.
    aim : Aim
    start : int
        Where to begin.

    Returns
    -------
    int
        A number with a value of at most `aim.goal`; where there is none, the one that comes
        nearest to it, an end of the range.
    """
    low, high = _End(LEAST), _End(GREATEST)
    number = _clamp(start)
    for attempt in range(high.number - low.number):
        value = measure(number)
        if aim.goal * (1 - TOLERANCE) <= value <= aim.goal:
            return number
        if (value <= aim.goal) == aim.rises:
            low = _End(number, value)
        else:
            high = _End(number, value)
        if high.number - low.number <= 1:
            break
        number = _between(low, high, aim, attempt)
    return low.number if aim.rises else high.number


@dataclass(frozen=True, slots=True)
class _End:
    """One end of the range in which the goal lies; `value` is None until it was measured."""

    number: int
    value: float | None = None


def _between(low: _End, high: _End, aim: Aim, attempt: int) -> int:
    """The next number to try, inside the range but for ends that were never measured."""
    if low.value is not None and high.value is not None:
        number = _interpolate(low, high, aim, attempt)
        return min(max(number, low.number + 1), high.number - 1)
    # Each step in the same direction goes twice as far: laws of high rates may not hold here.
    if low.value is not None:
        step = aim.away(low.value) << attempt
        return min(max(low.number + step, low.number + 1), high.number)
    assert high.value is not None
    step = aim.away(high.value) << attempt
    return max(min(high.number + step, high.number - 1), low.number)


def _interpolate(low: _End, high: _End, aim: Aim, attempt: int) -> int:
    """Where a straight line through both ends meets the goal; in the long run half way in turn."""
    assert low.value is not None and high.value is not None
    rise = _log2(high.value) - _log2(low.value)
    if (attempt >= _PATIENCE and attempt % 2) or rise == 0:
        return (low.number + high.number) // 2
    share = (_log2(aim.goal * _MIDDLE) - _log2(low.value)) / rise
    return low.number + _nearest(share * (high.number - low.number))


def _log2(value: float) -> float:
    return float(log2(max(value, _NOTHING)))


def _nearest(number: float) -> int:
    return math.floor(number + 0.5)


def _clamp(number: int) -> int:
    return min(max(number, LEAST), GREATEST)
