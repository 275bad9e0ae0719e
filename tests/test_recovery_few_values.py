"""Tiny trained networks: few weights of few values, whole rows and columns dead."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_payloads import decoded

import dcz
from dcz.codec import kernels
from dcz.codec.encode import context_mixing
from dcz.codec.share import find_step
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.wire import reconstruction

Array = npt.NDArray[Any]
SLOW = pytest.mark.skipif(kernels.BACKEND != "c", reason="takes a minute without C")

# Shape, filters alive, columns alive as (first, step, count), survivors, values.
LAYERS = {
    "conv1.weight": ((20, 1, 5, 5), 7, (0, 1, 21), 95, 7),
    "conv2.weight": ((50, 20, 5, 5), 14, (25, 1, 175), 820, 15),
    "fc1.weight": ((500, 800), 16, (32, 3, 224), 800, 13),
    "fc2.weight": ((10, 500), 10, (3, 31, 16), 109, 9),
}
BIASES = {"conv1.bias": 20, "conv2.bias": 50, "fc1.bias": 500, "fc2.bias": 10}


def layer(
    rng: np.random.Generator, name: str, *, on_a_grid: bool
) -> tuple[npt.NDArray[np.float32], float]:
    """A layer, and the bits of its positions and values at order 0, given what is dead."""
    shape, rows, (first, step, columns), survivors, values = LAYERS[name]
    tensor = np.zeros((shape[0], math.prod(shape[1:])), np.float32)
    alive = np.zeros_like(tensor, bool)
    own = np.sort(rng.permutation(shape[0])[:rows])
    alive[np.ix_(own, first + step * np.arange(columns))] = True
    chosen = rng.permutation(np.flatnonzero(alive))[:survivors]
    book = np.delete(np.arange(values) - values // 2, values // 2).astype(np.float32)
    book = book * np.float32(0.0317) if on_a_grid else book + rng.random(book.size) * 0.4
    tensor.reshape(-1)[chosen] = rng.choice(book, survivors)
    counts = np.unique(tensor[tensor != 0], return_counts=True)[1]
    cells = rows * columns
    bits = entropy([survivors, cells - survivors]) + entropy(counts.tolist())
    return tensor.reshape(shape), bits


def entropy(counts: list[int]) -> float:
    return sum(n * math.log2(sum(counts) / n) for n in counts if n)


def network(*, on_a_grid: bool) -> tuple[dict[str, Array], float]:
    """A LeNet-5 of which 1,824 weights are left, and the bytes of them at order 0."""
    rng = np.random.default_rng(9)
    layers = {name: layer(rng, name, on_a_grid=on_a_grid) for name in LAYERS}
    biases = {name: np.zeros(size, np.float32) for name, size in BIASES.items()}
    bits = sum(bits for _, bits in layers.values())
    return {name: tensor for name, (tensor, _) in layers.items()} | biases, bits / 8


@SLOW
@pytest.mark.parametrize("on_a_grid", [True, False])
def test_a_tiny_network_takes_little_more_than_its_entropy(tmp_path: Path, on_a_grid: bool) -> None:
    tensors, bound = network(on_a_grid=on_a_grid)
    report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(preset="max"))
    assert sum(np.count_nonzero(tensor) for tensor in tensors.values()) == 1824
    for name, array in dcz.load_file(tmp_path / "x.dcz").items():
        assert array.tobytes() == tensors[name].tobytes(), name
    # What is dead costs something too, and so does learning.
    coded = sum(report.parts[part] for part in ("indices", "gaps", "tables"))
    assert coded < 1.15 * bound
    assert report.parts["codebooks"] < (20 if on_a_grid else 200)
    assert report.file_bytes - coded < (210 if on_a_grid else 400)
    huffman = dcz.save_file(tensors, tmp_path / "y.dcz")
    assert report.file_bytes < 0.9 * huffman.file_bytes


def test_dead_and_constant_tensors_cost_next_to_nothing(tmp_path: Path) -> None:
    for preset in ("paper", "balanced", "max"):
        tensors = {
            "dead": np.zeros((300, 7, 3), np.float32),
            "constant": np.full((90, 70), -1.7, np.float32),
            "negative": np.full((9, 70), -0.0, np.float32),
        }
        report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(preset=preset))
        for name, array in dcz.load_file(tmp_path / "x.dcz").items():
            assert array.tobytes() == tensors[name].tobytes(), name
        assert report.file_bytes < 160


@given(
    step=st.floats(1e-3, 1e3),
    times=st.lists(st.integers(-20, 20), min_size=10, max_size=20, unique=True),
    dtype=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]),
)
def test_a_step_is_found_if_there_is_one(step: float, times: list[int], dtype: Any) -> None:
    half = np.float32(step)
    codebook = (2 * np.array(times, np.float64) * half).astype(np.float32).astype(dtype)
    found = find_step.find(codebook)
    if dtype == np.float32 and max(times) - min(times) < 18:
        assert found is not None
    if found is not None:
        again = (found[1] * np.float64(found[0])).astype(np.float32).astype(dtype)
        assert again.tobytes() == codebook.tobytes()


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 0.2, 0.3001],
        [1.0, -0.0],
        [1.0, math.inf],
        [math.nan],
        [1e-45, 1.0],
        [1.0, 1e30],
        [1.0, 10.0],
        list(range(300)),
        [],
    ],
)
def test_other_codebooks_are_kept(values: list[float]) -> None:
    codebook = np.array(values, np.float32)
    assert find_step.find(codebook) is None
    assert find_step.find(np.arange(3, dtype=np.int32)) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.float8_e4m3fn])
def test_multiples_come_back(dtype: Any) -> None:
    codebook = np.array([-1, 0, 0.5, 1.5], dtype)
    rng = np.random.default_rng(1)
    shared = SharedTensor(rng.integers(0, 4, 60).astype(np.uint8), codebook, False)
    frame = context_mixing.encode(shared, (6, 10))
    assert frame.payload[0] == reconstruction.MULTIPLES
    assert decoded(frame, shared.member).tobytes() == codebook[shared.indices].tobytes()


@pytest.mark.parametrize("preset", ["balanced", "max"])
def test_weights_beyond_a_float32_step_are_refused_or_kept(tmp_path: Path, preset: str) -> None:
    """Their slope asks for a step that no file can hold: a typed error, or all of them exact."""
    values = np.random.default_rng(1).integers(0, 256, 480, np.uint8).view(np.float64)
    values[~np.isfinite(values)] = 1e300
    path = tmp_path / "x.dcz"
    try:
        dcz.save_file({"w": values.reshape(6, 10)}, path, dcz.Recipe(preset=preset))
    except dcz.DczError:
        assert not path.exists()
    else:
        assert dcz.load_file(path)["w"].shape == (6, 10)
