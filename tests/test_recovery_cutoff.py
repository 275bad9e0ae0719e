"""The cutoff of a sparsity is exactly what sorting all magnitudes gives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcz
from dcz.codec.prune import lamp
from dcz.codec.prune.magnitude import cutoff_for_sparsity
from dcz.formats.console.advice import advice

Array = npt.NDArray[Any]

SIZE = 300_001


def models() -> dict[str, Array]:
    random = np.random.default_rng(5)
    normal = random.standard_normal(SIZE)
    return {
        "normal": normal,
        "few values": np.round(normal * 3) / 3,
        "one value": np.full(SIZE, -0.25),
        "mostly zero": np.where(random.random(SIZE) < 0.97, 0.0, normal),
        # Every so many-th weight, which a sample may fall in step with, unlike the others.
        "periodic": np.where(np.arange(SIZE) % 3 == 0, normal * 100, normal),
        "sorted": np.sort(normal),
        "wide": normal * 10.0 ** random.integers(-30, 30, SIZE),
    }


def sorted_cutoff(weights: Array, sparsity: float) -> float:
    rank = math.floor(sparsity * weights.size)
    return float(np.sort(np.abs(weights))[rank]) if rank else 0.0


@pytest.mark.parametrize("kind", models())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparsity", [1e-6, 0.001, 0.5, 0.9, 0.99999])
def test_the_cutoff_is_that_of_sorting(kind: str, dtype: type, sparsity: float) -> None:
    weights = models()[kind].astype(dtype)
    parts = [weights[:1000], weights[1000:200_000], weights[200_000:]]
    found = cutoff_for_sparsity(lambda: parts, weights.size, sparsity, np.dtype(dtype))
    assert found == sorted_cutoff(weights, sparsity)


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=200), st.floats(0, 0.999))
def test_the_cutoff_of_few_weights_is_that_of_sorting(values: list[float], share: float) -> None:
    weights = np.array(values, np.float32)
    found = cutoff_for_sparsity(lambda: [weights], weights.size, share, weights.dtype)
    assert found == sorted_cutoff(weights, share)


def test_a_sample_that_misleads_is_not_trusted() -> None:
    # What is sampled (every third here) is small; all that decides the cutoff is not sampled.
    stride = SIZE // (1 << 17) | 1
    weights = np.full(SIZE, 1e-3, np.float32)
    others = np.arange(SIZE) % stride != 0
    weights[others] = np.random.default_rng(0).uniform(1, 2, int(others.sum()))
    for sparsity in (0.2, 0.5, 0.8):
        found = cutoff_for_sparsity(lambda: [weights], SIZE, sparsity, weights.dtype)
        assert found == sorted_cutoff(weights, sparsity)


def lowest_scores(tensors: list[np.ndarray], sparsity: float) -> list[int]:
    """How many weights of each tensor have the lowest LAMP scores, one weight at a time."""
    scores, owners = [], []
    for number, values in enumerate(tensors):
        squares = np.sort(np.square(values.astype(np.longdouble)))
        left = np.cumsum(squares[::-1])[::-1]
        scores.append(squares / np.where(left > 0, left, 1))
        owners.append(np.full(values.size, number))
    order = np.argsort(np.concatenate(scores), kind="stable")
    chosen = np.concatenate(owners)[order][: int(sparsity * order.size)]
    return np.bincount(chosen, minlength=len(tensors)).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.99])
def test_the_lowest_scores_of_a_model_are_pruned(sparsity: float, dtype: type) -> None:
    random = np.random.default_rng(1)
    tensors = [
        (scale * random.normal(size=size)).astype(dtype)
        for scale, size in ((1, 20_000), (1e-6, 5_000), (1e3, 9_000), (0.1, 40))
    ]
    tensors.append((random.normal(size=4_000) * (random.random(4_000) < 0.4)).astype(dtype))
    found = lamp.ranks(((values, np.inf, 1.0) for values in tensors), sparsity)
    assert sum(found) == int(sparsity * sum(values.size for values in tensors))
    expected = lowest_scores(tensors, sparsity)
    # Bins of magnitudes are a percent wide, of doubles 6.
    most = 0.004 if dtype is np.float32 else 0.03
    for values, got, wanted in zip(tensors, found, expected, strict=True):
        assert abs(got - wanted) <= most * values.size + 2
        assert got < values.size


def test_scores_do_not_change_with_scales_and_outliers() -> None:
    random = np.random.default_rng(2)
    tensors = [random.normal(size=n).astype(np.float32) for n in (3000, 500, 70)]
    plain = lamp.ranks(((values, np.inf, 1.0) for values in tensors), 0.8)
    scaled = [np.float32(2.0**n) * v for n, v in zip((30, 0, -40), tensors, strict=True)]
    assert lamp.ranks(((values, np.inf, 1.0) for values in scaled), 0.8) == plain
    odd = tensors[0].copy()
    odd[5] = 1e20
    found = lamp.ranks(((odd, 1e19, 1.0), *((values, np.inf, 1.0) for values in tensors[1:])), 0.8)
    assert np.abs(np.subtract(found, plain)).max() <= 3
    assert lamp.ranks((), 0.5) == []


@pytest.mark.parametrize(
    "recipe",
    [dcz.Recipe(sparsity=0.9, scope="global"), dcz.Recipe(sparsity=0.9, scope="global", bits=4)],
)
def test_a_tensor_that_would_lose_every_weight_is_kept_and_named(
    tmp_path: Path, recipe: dcz.Recipe
) -> None:
    generator = np.random.default_rng(0)
    tensors = {
        "base": generator.normal(0, 1.0, (100, 100)).astype(np.float32),
        "adapter": generator.normal(0, 1e-3, (40, 40)).astype(np.float32),
        "zeros": np.zeros((8, 8), np.float32),
    }
    report = dcz.save_file(tensors, tmp_path / "x.dcz", recipe)
    decoded = dcz.load_file(tmp_path / "x.dcz")
    assert report.unpruned == ("adapter",)
    assert report.to_dict()["unpruned"] == ["adapter"]
    assert np.count_nonzero(decoded["adapter"]) > 1500
    assert "not pruned" in advice(recipe, report) and "adapter" in advice(recipe, report)
    assert not dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(sparsity=0.9)).unpruned
