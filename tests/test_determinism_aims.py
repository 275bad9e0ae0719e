"""The search for a slope: it ends, where it should, and at the same place everywhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcz.codec.rate import target


def counted(function: object) -> tuple[object, list[int]]:
    calls: list[int] = []

    def measure(number: int) -> float:
        calls.append(number)
        return function(number)  # type: ignore[operator, no-any-return]

    return measure, calls


@given(st.integers(target.LEAST, target.GREATEST))
def test_slopes_are_powers_of_two(number: int) -> None:
    assert target.slope_of(number) == pytest.approx(2 ** (number / 256), rel=1e-14)
    assert target.number_of(target.slope_of(number)) == number


def test_slopes_do_not_depend_on_the_machine() -> None:
    assert target.slope_of(1).hex() == "0x1.00b1afa5abcbfp+0"
    assert target.slope_of(-77).hex() == "0x1.9fa5e8d07f29dp-1"


@given(st.floats(1e-9, 0.5), st.floats(0.6, 1.1), st.integers(-5000, 2000))
def test_an_error_is_met_within_a_percent(goal: float, power: float, start: int) -> None:
    measure, calls = counted(lambda n: min(0.1 * 2 ** (power * n / 256), 1.0))
    found = target.search(measure, target.ErrorAim(goal), start)  # type: ignore[arg-type]
    assert goal * 0.99 <= measure(found) <= goal  # type: ignore[operator]
    assert len(calls) <= 12


@given(st.integers(20_000, 3_000_000), st.integers(-5000, 2000))
def test_a_size_is_met_within_a_percent(goal: int, start: int) -> None:
    weights = 1_000_000

    def size(number: int) -> float:
        bits = 0.5 * math.log2(1 + 2 ** (-number / 128)) + 0.05
        return 1000 + weights * min(bits, 26.0) / 8

    measure, calls = counted(size)
    found = target.search(measure, target.SizeAim(goal, weights), start)  # type: ignore[arg-type]
    assert goal * 0.99 <= size(found) <= goal
    assert len(calls) <= 14


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(1e-6, 1))
def test_stairs_end_on_the_last_step_that_is_allowed(steps: list[float], goal: float) -> None:
    stairs = sorted(steps)

    def error(number: int) -> float:
        place = (number - target.LEAST) * len(stairs) // (target.GREATEST - target.LEAST + 1)
        return stairs[place]

    measure, calls = counted(error)
    found = target.search(measure, target.ErrorAim(goal), 0)  # type: ignore[arg-type]
    allowed = [step for step in stairs if step <= goal]
    if allowed:
        assert error(found) <= goal
        assert error(found) >= min(allowed[-1], 0.99 * goal)
    else:
        assert found == target.LEAST
    assert len(calls) <= 40


def test_aims_out_of_reach_end_at_the_range() -> None:
    assert target.search(lambda n: 500.0, target.SizeAim(100, 1000), 0) == target.GREATEST
    assert target.search(lambda n: 50.0, target.SizeAim(100, 1000), 0) == target.LEAST
    assert target.search(lambda n: 0.5, target.ErrorAim(0.1), 0) == target.LEAST
    assert target.search(lambda n: 0.01, target.ErrorAim(0.1), 0) == target.GREATEST
