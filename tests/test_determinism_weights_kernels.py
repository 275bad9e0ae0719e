"""Both backends give equal results, to the last bit, whatever they are fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcz.codec.kernels.reference.encode import weights

native = pytest.importorskip("dcz.codec.kernels.native.weights", exc_type=ImportError)

SIZES = (0, 1, 7, 8, 9, 511, 512, 513, 65536 + 3)
FLOATS = (np.float32, np.float64)
SPECIAL = {
    "infinite": [np.inf, 1.0, -2.0],
    "not a number": [np.nan, 1.0, 0.0],
    "all special": [np.inf, -np.inf, np.nan, -0.0, 0.0],
    "negative zero": [-0.0, -0.0],
    "zeros of both signs": [-0.0, 0.0, -0.0],
    "subnormal": [1e-42, -1e-42, 1e-40, 0.0],
}


def bits(value: Any) -> Any:
    """Make results comparable where NaN equals NaN and -0.0 differs from 0.0."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, tuple):
        return tuple(bits(part) for part in value)
    array = np.asarray(value)
    return array.dtype.str, array.shape, array.tobytes()


def agree(function: str, *arguments: Any) -> Any:
    """Assert that both backends agree, on a result or on refusing; return the result."""
    try:
        expected = getattr(weights, function)(*arguments)
    except ValueError:
        with pytest.raises(ValueError):
            getattr(native, function)(*arguments)
        return None
    assert bits(getattr(native, function)(*arguments)) == bits(expected)
    return expected


def scaled(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return low, 2.0**32 / (high - low) if high > low else 1.0


def sample(kind: str, size: int, dtype: type) -> np.ndarray:
    random = np.random.default_rng(size)
    make: dict[str, Callable[[], np.ndarray]] = {
        "normal": lambda: random.normal(size=size) * 0.02,
        "pruned": lambda: random.normal(size=size) * (random.random(size) < 0.1),
        "outliers": lambda: random.standard_cauchy(size),
        "constant": lambda: np.full(size, 0.37),
        "integers": lambda: random.integers(-8, 8, size) / 8.0,
        "wide": lambda: np.exp(random.normal(size=size) * 20) * random.choice([-1, 1], size),
    }
    return make[kind]().astype(dtype)


KINDS = ("normal", "pruned", "outliers", "constant", "integers", "wide")


def check_all(values: np.ndarray, cutoff: float = 0.0) -> None:
    low, scale = scaled(values)
    agree("summarize", values)
    agree("sum_rows", values, 1)
    agree("count_magnitudes", values, 8 * values.itemsize - 16, 0)
    for room in (0, 3, values.size):
        agree("select_magnitudes", values, 0.5, 1.5, room)
    for cells in (1, 100, 65536):
        agree("count_cells", values, cutoff, low, scale * cells / 2.0**32, cells)
    counts, sums = agree("histogram", values, cutoff, low, scale)
    for levels in (1, 2, 16, 256):
        centroids = agree("cluster", counts, sums, levels)
        book = low + (centroids + 0.5) / scale
        thresholds = np.sort((book[1:] + book[:-1]) * 0.5)
        for first in (0, 1):
            indices = agree("assign", values, cutoff, thresholds, first)
            agree("measure", values, indices, np.concatenate([np.zeros(1), book, np.zeros(1)]))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_on_every_kind(kind: str, size: int, dtype: type) -> None:
    check_all(sample(kind, size, dtype), 0.01 if kind == "normal" else 0.0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", SPECIAL)
def test_every_kernel_on_special_values(name: str, dtype: type) -> None:
    with np.errstate(over="ignore"):
        values = np.array(SPECIAL[name] * 5, dtype)
    check_all(values)
    check_all(values, 1e-41)
    check_all(values, np.inf)


def test_largest_doubles_do_not_overflow() -> None:
    largest = np.finfo(np.float64).max
    values = np.array([-largest, largest, 1.0, -1.0, 5e-324, 0.0])
    agree("summarize", values)
    for low, scale in ((-largest, 0.0), (-largest, largest), (0.0, 1.0), (largest, 5e-324)):
        agree("histogram", values, 0.0, low, scale)
        agree("count_cells", values, 0.0, low, scale, 1000)
    agree("assign", values, 0.0, np.array([-largest, 0.0, largest]), 1)
    agree("assign", values, 0.0, np.array([-5e-324, 0.0, 5e-324]), 1)
    agree("measure", values, np.zeros(6, np.uint8), np.array([-largest]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_unaligned_and_strided_arrays(dtype: type) -> None:
    values = sample("normal", 1000, dtype)
    raw = np.frombuffer(b"x" + values.tobytes(), np.uint8)[1:]
    unaligned = raw.view(dtype)
    assert bits(native.summarize(unaligned)) == bits(weights.summarize(values))
    agree("summarize", values[::3])
    agree("histogram", unaligned, 0.0, -1.0, 2.0**31)
    agree("count_cells", unaligned, 0.01, -1.0, 500.0, 1000)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shift", (0, 7, 16, 17, 31, 32, 33, 48, 63, 64, 65))
def test_count_magnitudes_shifts(shift: int, dtype: type) -> None:
    values = sample("normal", 5000, dtype)
    keys = np.abs(values).view(f"u{values.itemsize}").astype(object)
    for prefix in (0, 1, int(keys[0]) >> (shift + 16)):
        agree("count_magnitudes", values, shift, prefix)


@pytest.mark.parametrize("size", (65536 * 3 + 5, (1 << 20) + 7))
@pytest.mark.parametrize("kind", ("normal", "outliers", "constant"))
def test_large_arrays(kind: str, size: int) -> None:
    check_all(sample(kind, size, np.float32))


@pytest.mark.parametrize("levels", (255, 256, 257, 300, 1000, 4096))
@pytest.mark.parametrize("kind", ("normal", "outliers"))
def test_index_widths_and_many_levels(kind: str, levels: int) -> None:
    values = sample(kind, 30000, np.float32)
    low, scale = scaled(values)
    counts, sums = agree("histogram", values, 0.0, low, scale)
    centroids = agree("cluster", counts, sums, levels)
    thresholds = np.sort(low + (centroids[1:] + centroids[:-1]) * 0.5 / scale)
    for first in (0, 1):
        agree("assign", values, 0.0, thresholds, first)


@pytest.mark.parametrize("steps", (0, 1, 2, 50))
@pytest.mark.parametrize("levels", (1, 2, 16, 700))
def test_lloyd(levels: int, steps: int) -> None:
    values = sample("outliers", 20000, np.float32)
    counts, sums = weights.histogram(values, 0.0, *scaled(values))
    agree("lloyd", counts, sums, np.linspace(0.0, 2.0**32, levels), steps)
    agree("lloyd", counts * 0, sums * 0, np.linspace(0.0, 2.0**32, levels), steps)


@pytest.mark.parametrize("wide", (np.uint8, np.uint16))
@pytest.mark.parametrize("dtype", (np.int8, np.float16, np.float32, np.complex64))
def test_take(dtype: type, wide: type) -> None:
    codebook = np.arange(200).astype(dtype)
    indices = np.random.default_rng(4).integers(0, 200, 1001).astype(wide)
    assert (agree("take", indices, codebook) == codebook[indices]).all()
    agree("take", indices[:0], codebook[:0])
    agree("take", indices, codebook[:150])


@pytest.mark.parametrize("dtype", (np.uint8, np.uint16, np.uint32, np.uint64))
@pytest.mark.parametrize("limit", (0, 1, 255, 256, 300, 65536))
def test_distinct_and_lookup(limit: int, dtype: type) -> None:
    random = np.random.default_rng(3)
    top = int(np.iinfo(dtype).max)
    for choices in (1, 200, 300, 70000):
        pool = random.integers(0, top, choices, dtype, endpoint=True)
        patterns = random.choice(pool, 2 * choices)
        table = agree("distinct", patterns, limit)
        agree("lookup", patterns, np.unique(pool))
        agree("lookup", patterns, np.unique(pool)[1:])
        if table is not None:
            agree("lookup", patterns, table)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(width=64)),
    st.floats(0.0, 10.0),
    st.integers(1, 70),
)
def test_any_doubles(values: np.ndarray, cutoff: float, levels: int) -> None:
    agree("summarize", values)
    counts, sums = agree("histogram", values, cutoff, -2.0, 2.0**30)
    centroids = agree("cluster", counts, sums, levels)
    indices = agree("assign", values, cutoff, centroids[1:] / 2.0**30 - 2.0, 1)
    for rows in (0, 1, 2, 3, 5):
        agree("measure", values, indices, np.arange(72.0), rows)
        agree("sum_rows", values, rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=80), st.data())
def test_any_histogram(bins: list[tuple[int, int]], data: st.DataObject) -> None:
    positions = np.array(sorted({position for _, position in bins}), np.int64)
    counts = np.array([count for count, _ in bins[: positions.size]], np.int64)
    agree("cluster", counts, counts * positions, data.draw(st.integers(1, 90)))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("summarize", (np.zeros(3, np.int32),)),
        ("histogram", (np.zeros(3), np.nan, 0.0, 1.0)),
        ("histogram", (np.zeros(3), 0.0, np.inf, 1.0)),
        ("histogram", (np.zeros(3), 0.0, 0.0, -1.0)),
        ("count_cells", (np.zeros(3), np.nan, 0.0, 1.0, 8)),
        ("count_cells", (np.zeros(3), 0.0, 0.0, np.inf, 8)),
        ("count_cells", (np.zeros(3), 0.0, 0.0, 1.0, 0)),
        ("count_cells", (np.zeros(3), 0.0, 0.0, 1.0, 65537)),
        ("select_magnitudes", (np.zeros(3), 2.0, 1.0, 8)),
        ("select_magnitudes", (np.zeros(3), -1.0, 1.0, 8)),
        ("select_magnitudes", (np.zeros(3), 0.0, np.nan, 8)),
        ("take", (np.zeros(3, np.int32), np.zeros(3))),
        ("take", (np.zeros(3, np.uint8), np.zeros(0))),
        ("cluster", (np.array([1]), np.array([1]), 0)),
        ("cluster", (np.array([1]), np.array([1]), 65537)),
        ("cluster", (np.array([-1]), np.array([1]), 4)),
        ("cluster", (np.array([1, 1]), np.array([2, 1]), 4)),
        ("cluster", (np.array([1, 0]), np.array([1, 1]), 4)),
        ("cluster", (np.array([1]), np.array([2**32]), 4)),
        ("cluster", (np.array([1]), np.array([1, 2]), 4)),
        ("cluster", (np.array([2**32]), np.array([1]), 4)),
        ("lloyd", (np.array([1]), np.array([1]), np.array([2.0, 1.0]), 4)),
        ("lloyd", (np.array([1]), np.array([1]), np.array([np.nan]), 4)),
        ("lloyd", (np.array([1]), np.array([1]), np.array([]), 4)),
        ("assign", (np.zeros(3), 0.0, np.array([2.0, 1.0]), 0)),
        ("assign", (np.zeros(3), 0.0, np.array([np.nan]), 0)),
        ("assign", (np.zeros(3), np.nan, np.array([1.0]), 0)),
        ("assign", (np.zeros(3), 0.0, np.array([1.0]), 2)),
        ("assign", (np.zeros(3), 0.0, np.arange(65536.0), 0)),
        ("measure", (np.zeros(3), np.zeros(2, np.uint8), np.zeros(1))),
        ("measure", (np.zeros(3), np.ones(3, np.uint8), np.zeros(1))),
        ("measure", (np.zeros(3), np.ones(3, np.uint16), np.zeros(0))),
        ("measure", (np.zeros(3), np.ones(3, np.int32), np.zeros(2))),
        ("measure", (np.zeros(3), np.zeros(3, np.uint8), np.zeros(2), 2)),
        ("measure", (np.zeros(3), np.zeros(3, np.uint8), np.zeros(2), 0)),
        ("measure", (np.zeros(3), np.zeros(3, np.uint8), np.zeros(2), -1)),
        ("sum_rows", (np.zeros(3), 2)),
        ("sum_rows", (np.zeros(3), 0)),
        ("sum_rows", (np.zeros(3, np.int32), 1)),
        ("distinct", (np.zeros(3, np.float32), 5)),
        ("distinct", (np.zeros(3, np.uint8), 65537)),
        ("lookup", (np.zeros(3, np.uint8), np.zeros(3, np.uint8))),
        ("lookup", (np.zeros(3, np.uint8), np.zeros(1, np.uint16))),
        ("count_magnitudes", (np.zeros(3, np.float32), 33, 0)),
    ],
)
def test_both_refuse_bad_arguments(function: str, arguments: tuple[Any, ...]) -> None:
    for backend in (weights, native):
        with pytest.raises(ValueError):
            getattr(backend, function)(*arguments)
