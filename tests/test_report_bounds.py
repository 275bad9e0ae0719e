"""The rate-distortion bounds of a report are those of the theory, and of the packed weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

import dcz
from dcz.codec.report.description import Moments, moments
from dcz.codec.report.rd_bounds import GAUSSIAN, LAPLACIAN, Curve, Source, source_of

Array = np.ndarray[Any, Any]

ratios = st.floats(1e-9, 1.5)
curves = pytest.mark.parametrize("curve", [GAUSSIAN, LAPLACIAN], ids=["gaussian", "laplacian"])


@given(variance=st.floats(1e-100, 1e100), ratio=ratios)
def test_gaussian_curve_is_the_closed_form(variance: float, ratio: float) -> None:
    expected = max(0.0, -0.5 * math.log2(ratio))
    assert GAUSSIAN.bits(variance, ratio * variance) == pytest.approx(expected, abs=1e-9)


def blahut_arimoto(source: Any, slope: float, cells: int = 300) -> tuple[float, float, float]:
    """Distortion, and bits from below and above, of a source cut into cells; slope in nats."""
    edges = np.linspace(-9, 9, cells + 1)
    mass = np.diff(source.cdf(edges))
    mass /= mass.sum()
    at = (edges[:-1] + edges[1:]) / 2
    squares = np.subtract.outer(at, at) ** 2
    kernel = np.exp(-slope * squares)
    marginal = mass.copy()
    for _ in range(1500):
        growth = kernel.T @ (mass / (kernel @ marginal))
        marginal *= growth
    partition = kernel @ marginal
    growth = kernel.T @ (mass / partition)
    distortion = float((mass / partition) @ (kernel * squares) @ marginal)
    nats = -slope * distortion - float(mass @ np.log(partition))
    lower, upper = nats - np.log(growth.max()), nats - float(marginal @ (growth * np.log(growth)))
    return distortion, lower / math.log(2), upper / math.log(2)


@pytest.mark.parametrize("slope", [0.45, 0.8, 1.7, 5.0, 20.0])
def test_laplacian_curve_lies_between_bounds_of_blahut(slope: float) -> None:
    source = stats.laplace(scale=1 / math.sqrt(2))
    distortion, lower, upper = blahut_arimoto(source, slope)
    # Cells shift the distortion by their own variance, their ends by less.
    off = 0.06**2 / 12 / distortion + 2e-3
    assert lower - off <= LAPLACIAN.bits(1, distortion) <= upper + off


@pytest.mark.parametrize("ratio", [0.05, 1e-2, 1e-4, 1e-8])
def test_laplacian_curve_meets_the_shannon_lower_bound(ratio: float) -> None:
    source = stats.laplace(scale=1 / math.sqrt(2))
    shannon = (float(source.entropy()) - float(stats.norm(scale=math.sqrt(ratio)).entropy())) / (
        math.log(2)
    )
    assert LAPLACIAN.bits(1, ratio) == pytest.approx(shannon, abs=1e-3)


@given(ratio=ratios, other=ratios)
def test_laplacian_curve_falls_and_is_convex(ratio: float, other: float) -> None:
    low, middle, high = sorted((ratio, (ratio + other) / 2, other))
    at_low, at_middle, at_high = (LAPLACIAN.bits(1, error) for error in (low, middle, high))
    assert at_low >= at_middle >= at_high >= 0
    assert at_middle <= (at_low + at_high) / 2 + 1e-3
    assert at_low <= GAUSSIAN.bits(1, low) + 1e-12


def test_gaussian_sources_share_an_error_by_reverse_water_filling() -> None:
    numel = np.array([1000, 20, 300, 4000])
    variances = np.array([1.0, 40.0, 0.01, 0.2])
    error = 0.1 * float(numel @ variances)
    level = optimize.brentq(lambda t: float(numel @ np.minimum(t, variances)) - error, 1e-9, 99)
    expected = float(numel @ np.maximum(0, 0.5 * np.log2(variances / level)))
    # However unequally the sources were coded, only the total counts.
    sources = [
        Source(int(n), float(v), 0.1 * float(v)) for n, v in zip(numel, variances, strict=True)
    ]
    assert GAUSSIAN.total_bits(sources) == pytest.approx(expected, rel=1e-9)


@curves
def test_no_division_of_an_error_needs_less(curve: Curve) -> None:
    first, second = Source(100, 1.0, 0.3), Source(300, 0.05, 0.002)
    error = first.numel * first.error + second.numel * second.error

    def bits(first_error: float) -> float:
        rest = (error - first.numel * first_error) / second.numel
        return first.numel * curve.bits(1.0, first_error) + second.numel * curve.bits(0.05, rest)

    best = min(bits(e) for e in np.linspace(1e-4, error / first.numel, 4000, endpoint=False))
    assert curve.total_bits([first, second]) == pytest.approx(best, rel=2e-3)


@curves
def test_one_source_and_extreme_scales(curve: Curve) -> None:
    alone = Source(77, 2.0, 0.02)
    assert curve.total_bits([alone]) == pytest.approx(77 * curve.bits(2.0, 0.02), rel=1e-3)
    assert curve.total_bits([]) == 0
    assert curve.total_bits([Source(10, 3.0, 3.5)]) == 0
    for scale in (1e-250, 1e250):
        scaled = [Source(5, scale, 0.01 * scale), Source(9, 0.3 * scale, 0.002 * scale)]
        plain = [Source(5, 1.0, 0.01), Source(9, 0.3, 0.002)]
        assert curve.total_bits(scaled) == pytest.approx(curve.total_bits(plain), rel=1e-6)


def test_moments_are_those_of_the_elements() -> None:
    values = np.array([-1.5, 0.25, 7.0], np.float32)
    found = moments(values, np.array([3, 0, 2]))
    assert found == Moments(-4.5 + 14, 6.75 + 98)
    assert moments(np.array([1, 2]), np.array([1, 1])) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200, 1e154])
def test_no_moments_without_bounds(value: float) -> None:
    values = np.array([value, value, 1.0])
    assert moments(values, np.array([900, 900, 1])) is None
    assert moments(values, np.array([0, 0, 1])) == Moments(1, 1)


def test_no_moments_where_only_their_sum_is_out_of_range() -> None:
    values = np.array([1.2e154, 1.3e154])
    assert moments(values, np.array([1, 0])) is not None
    assert moments(values, np.array([0, 1])) is not None
    assert moments(values, np.array([1, 1])) is None


def test_no_source_without_an_error_or_a_variance() -> None:
    known = Moments(2.0, 9.0)
    assert source_of(None, 4, 0.1) is None
    assert source_of(Moments(0.0, 0.0), 4, 0.1) is None
    for error in (0.0, 1.0, 2.0, math.nan, math.inf):
        assert source_of(known, 4, error) is None
    assert source_of(Moments(400.0, 40000.0), 4, 1e-30) is None


Draw = Callable[[np.random.Generator, int], Array]
DRAWS: dict[str, Draw] = {
    "gaussian": lambda generator, size: generator.normal(0.1, 0.03, size),
    "laplacian": lambda generator, size: generator.laplace(-0.02, 0.05, size),
}


@pytest.mark.parametrize("bits", [5, 7])
@pytest.mark.parametrize("family", DRAWS)
def test_packed_draws_stay_above_the_bound_of_their_family(
    tmp_path: Path, family: str, bits: int
) -> None:
    weights = DRAWS[family](np.random.default_rng(0), 90000).astype(np.float32).reshape(300, 300)
    recipe = dcz.Recipe(bits=bits)
    report = dcz.save_file({"w": weights}, tmp_path / "x.dcz", recipe)
    row = report.tensors[0]
    decoded = dcz.load_file(tmp_path / "x.dcz")["w"].astype(np.float64)
    error = float(np.square(decoded - weights).mean())
    variance = float(weights.astype(np.float64).var())
    expected = weights.size * 0.5 * math.log2(variance / error)
    assert row.gaussian_bits == pytest.approx(expected, rel=2e-3)
    assert row.laplacian_bits is not None and row.laplacian_bits < row.gaussian_bits
    bound = row.gaussian_bits if family == "gaussian" else row.laplacian_bits
    # Scalar quantization is 0.25 bits above the bound at its entropy, and whole bits cost some.
    assert bound < row.bits < bound + 0.4 * weights.size
    assert report.gaussian_bits == pytest.approx(row.gaussian_bits, rel=1e-6)
    assert report.laplacian_bits == pytest.approx(row.laplacian_bits, rel=1e-3)
    assert report.approximate_bits == row.bits


def test_only_approximate_tensors_have_bounds(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).normal
    shared = draw(size=(80, 90)).astype(np.float32)
    tensors = {
        "shared": shared,
        "copy": shared.copy(),
        "few": np.where(shared > 0, np.nan, 1).astype(np.float32),
        "bias": draw(size=50).astype(np.float32),
        "codes": np.arange(60, dtype=np.int8).reshape(6, 10) % 7,
    }
    report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(bits=4))
    bounded = [t.name for t in report.tensors if t.gaussian_bits is not None]
    assert bounded == ["shared"]
    assert report.approximate_bits == report.tensors[0].bits
    table = report.to_dict()
    assert table["gaussian_bits"] == report.gaussian_bits > table["laplacian_bits"] > 0
    assert table["tensors"][1]["laplacian_bits"] is None


RECIPES = {
    "dense": dcz.Recipe(bits=5),
    "sparse": dcz.Recipe(sparsity=0.9, bits=4),
    "two streams": dcz.Recipe(levels=6000),
    "sparse, two streams": dcz.Recipe(levels=6000, sparsity=0.5),
    "nothing left": dcz.Recipe(threshold=1e9, bits=2),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_packing_and_reading_find_the_same_bounds(tmp_path: Path, recipe: str) -> None:
    draw = np.random.default_rng(0).normal
    shapes = {"large": (300, 200), "small": (9, 20), "smaller": (4, 11), "odd": (7, 23)}
    tensors: dict[str, Array] = {n: draw(size=s).astype(np.float32) for n, s in shapes.items()}
    tensors["half"] = draw(size=(30, 40)).astype(np.float16)
    path = tmp_path / "x.dcz"
    report = dcz.save_file(tensors, path, RECIPES[recipe])
    with dcz.open(path) as archive:
        known = archive.report()
    assert dataclasses.replace(report, counted_error=None, lost={}, exact={}) == known
