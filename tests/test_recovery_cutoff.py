"""The cutoff of a sparsity is exactly what sorting all magnitudes gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcz.codec.prune import cutoff_for_sparsity

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
