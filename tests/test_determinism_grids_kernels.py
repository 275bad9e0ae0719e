"""Both backends round, classify, code and measure alike, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcz.codec.kernels.reference.encode import class_coding, curves, grids, tiny

native = pytest.importorskip("dcz.codec.kernels.native.levels", exc_type=ImportError)


def bits(value: Any) -> Any:
    """Make results comparable to the last bit."""
    if isinstance(value, tuple):
        return tuple(bits(part) for part in value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return value


def agree(reference: Any, function: str, *arguments: Any, **options: Any) -> Any:
    """Assert that both backends agree, on a result or on refusing; return the result."""
    try:
        expected = getattr(reference, function)(*arguments, **options)
    except ValueError:
        with pytest.raises(ValueError):
            getattr(native, function)(*arguments, **options)
        return None
    assert bits(getattr(native, function)(*arguments, **options)) == bits(expected)
    return expected


def draw(kind: str, size: int, seed: int) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    return {
        "bell": generator.normal(size=size),
        "heavy": generator.standard_t(1.5, size=size),
        "even": generator.random(size) - 0.3,
        "few": generator.integers(-3, 4, size).astype(np.float64),
    }[kind]


KINDS = st.sampled_from(["bell", "heavy", "even", "few"])
SIZES = st.integers(1, 5000)
SEEDS = st.integers(0, 999)


@settings(max_examples=80, deadline=None)
@given(KINDS, SIZES, SEEDS, st.sampled_from([(1, 1), (9, 64), (90, 16), (3000, 2)]), SEEDS)
def test_rounding_to_grids(
    kind: str, size: int, seed: int, shape: tuple[int, int], rows: int
) -> None:
    width = shape[0] * shape[1]
    values = draw(kind, size, seed)
    bins = np.clip(values * width / 8 + width / 2, 0, width - 1).astype(np.uint16)
    length = max(size // (rows % 9 + 1), 1)
    found = np.random.default_rng(rows).integers(0, 4, -(-size // length))
    used, groups = np.unique(found, return_inverse=True)
    arguments = bins, length, groups.astype(np.uint32), used.size, shape, -(shape[0] // 2), 0.12
    rounded = agree(grids, "round_grid", *arguments)
    again = agree(
        class_coding,
        "code_class",
        rounded.indices,
        rounded.last - rounded.first + 1,
        may_pair=bool(seed % 2),
    )
    assert int(again.counts.sum()) == size
    assert again.least <= len(again.table) + len(again.segment)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 64), SEEDS, st.integers(2, 6))
def test_classes_of_rows(rows: int, alphabet: int, seed: int, most: int) -> None:
    generator = np.random.default_rng(seed)
    weight = np.outer(generator.gamma(1, 1, rows), generator.gamma(0.5, 20, alphabet))
    counts = generator.poisson(weight).astype(np.int64)
    least = agree(grids, "coded_bits", counts.sum(axis=0)[None, :], 40)
    agree(grids, "classify", counts, most, 6, (40, 30), least)


@settings(max_examples=60, deadline=None)
@given(KINDS, SIZES, SEEDS, st.floats(1e-9, 1e9), st.sampled_from([16, 32, 64]))
def test_curves(kind: str, size: int, seed: int, width: float, value_bits: int) -> None:
    values = np.unique(draw(kind, size, seed))
    means = (values - values[0]) / max(float(values[-1] - values[0]), 1e-9)
    counts = np.random.default_rng(seed).integers(1, 5, means.size)
    levels, cost, error = agree(
        curves, "rate_curve", np.unique(means), counts[: np.unique(means).size], width,
        value_bits,
    )  # fmt: skip
    assert (np.diff(cost) > 0).all() and (np.diff(error) < 0).all() and levels.size > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(KINDS, st.integers(1, 128)), min_size=1, max_size=12), SEEDS, st.data())
def test_tiny_tensors(tensors: list[tuple[str, int]], seed: int, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    values = np.concatenate([draw(kind, size, seed) for kind, size in tensors]).astype(dtype)
    ends = np.cumsum([size for _, size in tensors])
    exponents = st.integers(-14, 6)
    steps = np.array([2.0 ** data.draw(exponents) * 1.3 for _ in tensors])
    left_out = [np.array([n % 5 == 4 for n in range(len(tensors))], np.uint8) for _ in range(2)]
    expected = tiny.round_tiny(values, ends, steps, 0.12, left_out[0])
    found = native.round_tiny(values, ends, steps, 0.12, left_out[1])
    assert left_out[0].tolist() == left_out[1].tolist()
    kept = np.repeat(left_out[0] == 0, np.diff(ends, prepend=0))
    assert np.array_equal(found[kept], expected[kept])
    # No weight goes further than the rate can make it: two steps are more than any bit is worth.
    apart = np.abs(values - found / 2 * np.repeat(steps, np.diff(ends, prepend=0)))[kept]
    assert (apart <= 3 * np.repeat(steps, np.diff(ends, prepend=0))[kept]).all()


def test_without_a_price_each_weight_goes_to_the_nearest_multiple() -> None:
    values = np.random.default_rng(0).normal(size=100)
    left_out = np.zeros(1, np.uint8)
    found = native.round_tiny(values, np.array([100]), np.array([0.05]), 0.0, left_out)
    middles = np.abs(values / 0.05 - np.floor(values / 0.05) - 0.5)
    away = np.abs(values - found / 2 * 0.05)
    # Bounds between levels lie in the middle of their means, to within a bin.
    assert left_out[0] == 0
    assert (away[middles > 0.3] <= 0.025).all()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("round_grid", (np.zeros(3, np.uint16), 3, np.zeros(1, np.uint32), 2, (1, 1), 0, 0.1)),
        ("round_grid", (np.full(3, 9, np.uint16), 3, np.zeros(1, np.uint32), 1, (1, 1), 0, 0.1)),
        ("round_grid", (np.zeros(3, np.uint16), 3, np.zeros(1, np.uint32), 1, (0, 1), 0, 0.1)),
        ("round_grid", (np.zeros(3, np.uint16), 3, np.ones(1, np.uint32), 1, (1, 1), 0, 0.1)),
        ("round_grid", (np.zeros(3, np.uint16), 3, np.zeros(1, np.uint32), 1, (999, 99), 0, 0.1)),
        ("classify", (np.ones((3, 2), np.int64), 4, 6, (1, 1), 99)),
        ("classify", (np.ones((3, 2), np.int64), 1, 6, (1, 1), 99)),
        ("rate_curve", (np.array([0.5, 0.1]), np.array([1, 1]), 1.0, 32)),
        ("rate_curve", (np.array([0.5, 1.1]), np.array([1, 1]), 1.0, 32)),
        ("rate_curve", (np.array([0.5, np.nan]), np.array([1, 1]), 1.0, 32)),
        ("rate_curve", (np.array([0.5]), np.array([0]), 1.0, 32)),
        ("rate_curve", (np.array([]), np.array([]), 1.0, 32)),
    ],
)
def test_unusable_arguments_are_refused_by_both(function: str, arguments: tuple[Any, ...]) -> None:
    reference = curves if function == "rate_curve" else grids
    with pytest.raises(ValueError):
        getattr(reference, function)(*arguments)
    with pytest.raises(ValueError):
        getattr(native, function)(*arguments)
