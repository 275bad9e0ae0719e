"""The weight kernels do what they promise, by independent oracles, on both backends."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcz.codec.kernels.reference.encode import weights as reference_weights

try:
    from dcz.codec.kernels.native import weights as native_weights
except ImportError:
    BACKENDS: list[ModuleType] = [reference_weights]
else:
    BACKENDS = [reference_weights, native_weights]

both = pytest.mark.parametrize("kernels", BACKENDS, ids=lambda module: module.__name__[-16:])


def distribution(name: str, size: int) -> np.ndarray:
    random = np.random.default_rng(size)
    values = {
        "gaussian": random.normal(size=size) * 0.02,
        "laplacian": random.laplace(size=size),
        "heavy tails": random.standard_t(2, size),
        "outliers": random.normal(size=size) * np.where(np.arange(size) % 5000 == 7, 100, 1),
        "one outlier": np.append(random.normal(size=size - 1), 1e4),
        "mixture": np.where(
            random.random(size) < 0.5, random.normal(-1, 0.05, size), random.normal(3, 1, size)
        ),
        "pruned": np.sign(random.normal(size=size)) * (0.1 + np.abs(random.normal(size=size))),
        "log-normal": np.exp(random.normal(size=size) * 2),
    }[name]
    return values.astype(np.float32)


DISTRIBUTIONS = (
    "gaussian",
    "laplacian",
    "heavy tails",
    "outliers",
    "one outlier",
    "mixture",
    "pruned",
    "log-normal",
)


def exact_cost(values: np.ndarray, levels: int) -> float:
    """Return the least k-means objective, by the quadratic dynamic programme."""
    x = np.sort(values.astype(np.float64))
    x = x - x.mean()
    first = np.concatenate([[0.0], np.cumsum(x)])
    second = np.concatenate([[0.0], np.cumsum(x * x)])
    count = np.arange(x.size + 1.0)
    start, end = np.meshgrid(np.arange(x.size + 1), np.arange(x.size + 1), indexing="ij")
    with np.errstate(divide="ignore", invalid="ignore"):
        within = second[end] - second[start]
        within -= (first[end] - first[start]) ** 2 / (count[end] - count[start])
    within = np.where(end > start, within, np.inf)
    best = within[0]
    for _ in range(levels - 1):
        best = (best[:, None] + within).min(axis=0)
    return float(best[-1])


def exact_cost_fast(values: np.ndarray, levels: int) -> float:
    """Return the least k-means objective; each row's argmins by recursion on their order."""
    x = np.sort(values.astype(np.float64))
    x = x - x.mean()
    first = np.concatenate([[0.0], np.cumsum(x)])
    second = np.concatenate([[0.0], np.cumsum(x * x)])
    size = x.size
    best = np.append(0.0, second[1:] - first[1:] ** 2 / np.arange(1, size + 1))
    for level in range(1, levels):
        bound_low = np.full(size + 2, level)
        bound_high = np.full(size + 2, size)
        row = np.full(size + 1, np.inf)
        step = 1 << (size.bit_length() - 1)
        while step:
            ends = np.arange(step, size + 1, 2 * step)
            ends = ends[ends > level]
            if ends.size:
                low = bound_low[ends - step]
                high = np.minimum(bound_high[np.minimum(ends + step, size + 1)], ends - 1)
                row[ends], argmins = least_between(best, first, second, low, high, ends)
                bound_low[ends] = bound_high[ends] = argmins
            step //= 2
        best = row
    return float(best[-1])


def least_between(
    best: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    ends: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return least cost and best start of each end, its start in low .. high."""
    length = high - low + 1
    offset = np.cumsum(length) - length
    start = np.arange(length.sum()) + np.repeat(low - offset, length)
    end = np.repeat(ends, length)
    cost = best[start] + second[end] - second[start]
    cost -= (first[end] - first[start]) ** 2 / (end - start)
    least = np.minimum.reduceat(cost, offset)
    argmin = np.minimum.reduceat(
        np.where(cost == np.repeat(least, length), start, first.size), offset
    )
    return least, argmin


def quantize(kernels: ModuleType, values: np.ndarray, levels: int) -> tuple[np.ndarray, float]:
    """Cluster values; return the codebook and the objective."""
    summary = kernels.summarize(values)
    scale = 2.0**32 / (summary.maximum - summary.minimum)
    counts, sums = kernels.histogram(values, 0.0, summary.minimum, scale)
    codebook = summary.minimum + (kernels.cluster(counts, sums, levels) + 0.5) / scale
    indices = kernels.assign(values, 0.0, (codebook[1:] + codebook[:-1]) / 2, 0)
    return codebook, float(kernels.measure(values, indices, codebook)[0])


def test_both_exact_programmes_agree() -> None:
    for levels in (1, 2, 5, 60):
        values = distribution("mixture", 100)
        assert exact_cost_fast(values, levels) == pytest.approx(exact_cost(values, levels))


@both
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_cluster_is_optimal_on_few_values(kernels: ModuleType, name: str) -> None:
    values = distribution(name, 300)
    for levels in (1, 2, 3, 16, 32, 100):
        codebook, cost = quantize(kernels, values, levels)
        assert codebook.size == levels
        assert cost <= 1.0001 * exact_cost(values, levels)


@both
@pytest.mark.parametrize("levels", (16, 32, 256))
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_cluster_is_within_a_thousandth(kernels: ModuleType, name: str, levels: int) -> None:
    values = distribution(name, 12000)
    assert quantize(kernels, values, levels)[1] <= 1.001 * exact_cost_fast(values, levels)


@both
@pytest.mark.parametrize("levels", (16, 64))
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_cluster_is_no_worse_than_scikit_learn(kernels: ModuleType, name: str, levels: int) -> None:
    sklearn = pytest.importorskip("sklearn.cluster")
    values = distribution(name, 5000)
    oracle = sklearn.KMeans(levels, n_init=2, random_state=0).fit(
        values.astype(np.float64).reshape(-1, 1)
    )
    assert quantize(kernels, values, levels)[1] <= 1.001 * oracle.inertia_


@both
def test_many_levels_follow_the_theory(kernels: ModuleType) -> None:
    values = distribution("gaussian", 200000).astype(np.float64)
    sigma = values.std()
    for levels in (300, 1000):
        theory = np.sqrt(3) * np.pi / 2 * sigma**2 / levels**2 * values.size
        assert quantize(kernels, values, levels)[1] < 1.02 * theory


@both
@pytest.mark.parametrize("count", (1, 2, 15, 16))
def test_few_distinct_values_are_their_own_centroids(kernels: ModuleType, count: int) -> None:
    values = np.random.default_rng(0).choice(np.linspace(-1, 1, count + 1)[1:], 5000)
    summary = kernels.summarize(values)
    scale = 2.0**32 / max(summary.maximum - summary.minimum, 1.0)
    counts, sums = kernels.histogram(values, 0.0, summary.minimum, scale)
    kept = np.unique(values[values != 0])
    centroids = kernels.cluster(counts, sums, 16)
    np.testing.assert_allclose(summary.minimum + centroids / scale, kept, atol=1 / scale)


@both
def test_histogram_keeps_every_survivor(kernels: ModuleType) -> None:
    values = distribution("heavy tails", 100000)
    cutoff = 0.5
    low = float(values.min())
    scale = 2.0**32 / (float(values.max()) - low)
    counts, sums = kernels.histogram(values, cutoff, low, scale)
    kept = np.sort(values[np.abs(values) >= cutoff].astype(np.float64))
    positions = np.minimum(((kept - low) * scale).astype(np.int64), 2**32 - 1)
    assert counts.dtype == sums.dtype == np.int64
    assert counts.sum() == kept.size
    assert sums.sum() == positions.sum()
    ends = np.cumsum(counts[counts > 0])
    np.testing.assert_array_equal(
        sums[counts > 0], np.add.reduceat(positions, np.append(0, ends[:-1]))
    )


@both
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_cells_count_what_lies_in_them(kernels: ModuleType, dtype: type) -> None:
    # Fractions with few bits, so that no difference is rounded.
    values = np.round(distribution("heavy tails", 100000) * 4096).astype(dtype) / 4096
    counts = kernels.count_cells(values, 0.5, -8.0, 32.0, 512)
    kept = np.clip(values[np.abs(values) >= 0.5], -8.0, 7.99)
    expected, _ = np.histogram(kept, 512, (-8.0, 8.0))
    np.testing.assert_array_equal(counts, expected)


@both
def test_lloyd_never_raises_the_objective(kernels: ModuleType) -> None:
    values = distribution("laplacian", 50000)
    low = float(values.min())
    scale = 2.0**32 / (float(values.max()) - low)
    counts, sums = kernels.histogram(values, 0.0, low, scale)
    start = np.linspace(2.0**27, 2.0**32, 32)
    used = counts > 0
    means, weights = sums[used] / counts[used], counts[used]
    costs = []
    for steps in range(12):
        centroids = kernels.lloyd(counts, sums, start, steps)
        nearest = np.abs(means[:, None] - centroids).min(axis=1)
        costs.append(float((weights * nearest**2).sum()))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.9 * costs[0]


@both
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
@pytest.mark.parametrize("rank", (0, 1, 4999, 9998))
def test_two_counts_find_an_exact_threshold(kernels: ModuleType, rank: int, dtype: type) -> None:
    values = distribution("heavy tails", 9999).astype(dtype)
    bits = 8 * values.itemsize
    prefix, left = 0, rank
    for shift in range(bits - 16, -1, -16):
        below = np.cumsum(kernels.count_magnitudes(values, shift, prefix))
        digit = int(np.searchsorted(below, left, side="right"))
        left -= int(below[digit - 1]) if digit else 0
        prefix = prefix << 16 | digit
    found = np.array([prefix], f"u{values.itemsize}").view(dtype)[0]
    assert found == np.partition(np.abs(values), rank)[rank]


@both
@settings(max_examples=60, deadline=None)
@given(
    values=hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)),
    thresholds=st.lists(
        st.floats(-1e3, 1e3) | st.floats(width=32, allow_infinity=False, allow_nan=False),
        max_size=50,
    ),
    cutoff=st.floats(0.0, 10.0),
    first=st.integers(0, 1),
)
def test_assign_counts_thresholds(
    kernels: ModuleType, values: np.ndarray, thresholds: list[float], cutoff: float, first: int
) -> None:
    bounds = np.sort(np.array(thresholds))
    indices = kernels.assign(values, cutoff, bounds, first)
    for value, index in zip(values.astype(np.float64).tolist(), indices.tolist(), strict=True):
        survives = value != 0.0 and abs(value) >= cutoff
        assert index == (first + sum(bound < value for bound in bounds) if survives else 0)


@both
def test_assign_is_exact_at_its_thresholds(kernels: ModuleType) -> None:
    bounds = np.sort(np.random.default_rng(1).normal(size=255)).astype(np.float32)
    around = [np.nextafter(bounds, side, dtype=np.float32) for side in (-np.inf, np.inf)]
    values = np.concatenate([bounds, *around])
    expected = np.searchsorted(bounds, values, side="left")
    np.testing.assert_array_equal(kernels.assign(values, 0.0, bounds, 0), expected)


@both
def test_measure_and_summarize_against_exact_sums(kernels: ModuleType) -> None:
    values = distribution("heavy tails", 10007)
    codebook = np.linspace(-3, 3, 300)
    indices = np.random.default_rng(2).integers(0, 300, values.size).astype(np.uint16)
    wide = values.astype(np.longdouble)
    error = float(((wide - codebook[indices]) ** 2).sum())
    assert kernels.measure(values, indices, codebook)[0] == pytest.approx(error, rel=1e-12)
    values[::7] = 0.0
    summary = kernels.summarize(values)
    energy = float((values.astype(np.longdouble) ** 2).sum())
    assert summary.energy == pytest.approx(energy, rel=1e-12)
    assert summary.zeros == np.count_nonzero(values == 0)
    assert (summary.minimum, summary.maximum) == (values.min(), values.max())
    assert summary.finite


@both
@pytest.mark.parametrize("rows", (1, 3, 10, 2500))
def test_sums_of_rows_against_exact_sums(kernels: ModuleType, rows: int) -> None:
    values = distribution("heavy tails", 30_000)
    codebook = np.linspace(-3, 3, 200)
    indices = np.random.default_rng(rows).integers(0, 200, values.size).astype(np.uint8)
    wide = values.astype(np.longdouble).reshape(rows, -1)
    apart = wide - codebook[indices].reshape(rows, -1)
    sums, squares = kernels.sum_rows(values, rows)
    np.testing.assert_allclose(sums, wide.sum(1).astype(np.float64), rtol=1e-9)
    np.testing.assert_allclose(squares, (wide**2).sum(1).astype(np.float64), rtol=1e-12)
    errors = kernels.measure(values, indices, codebook, rows)
    np.testing.assert_allclose(errors, (apart**2).sum(1).astype(np.float64), rtol=1e-12)


@both
@pytest.mark.parametrize("special", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("place", (0, 5, 511, 512, 999))
def test_summarize_finds_what_is_not_finite(
    kernels: ModuleType, special: float, place: int
) -> None:
    values = np.ones(1000, np.float32)
    assert kernels.summarize(values).finite
    values[place] = special
    assert not kernels.summarize(values).finite


@both
@settings(max_examples=60, deadline=None)
@given(patterns=hnp.arrays(np.uint32, st.integers(0, 60), elements=st.integers(0, 40)))
def test_distinct_and_lookup_invert(kernels: ModuleType, patterns: np.ndarray) -> None:
    table: Any = kernels.distinct(patterns, 41)
    np.testing.assert_array_equal(table, np.unique(patterns))
    np.testing.assert_array_equal(table[kernels.lookup(patterns, table)], patterns)
    if table.size:
        assert kernels.distinct(patterns, table.size - 1) is None
        with pytest.raises(ValueError, match="missing"):
            kernels.lookup(patterns, table[1:])
