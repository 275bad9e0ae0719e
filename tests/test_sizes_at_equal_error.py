"""Files do not grow: bytes at a fixed error, within 0.3% of what they were.

A change that makes files smaller lowers the numbers here; one that makes them larger must say why.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import dcz
from dcz.formats.checkpoints.registry import open_checkpoint

Array = npt.NDArray[Any]
SAMPLES = Path(__file__).parents[1] / "samples"
TOLERANCE = 1.003


def generator() -> np.random.Generator:
    return np.random.default_rng(17)


def trained() -> dict[str, Array]:
    """A network of the samples, its pruned weights filled with noise so that most are weights."""
    draw = generator()
    with open_checkpoint(SAMPLES / "lenet-300-100.safetensors") as checkpoint:
        arrays = {name: checkpoint.read(name) for name in checkpoint.tensors}
    return {
        name: np.where(a == 0, draw.laplace(0, 0.1 * a.std(), a.shape), a).astype(np.float32)
        for name, a in arrays.items()
    }


def outlier_rows() -> dict[str, Array]:
    weights = generator().laplace(size=(200, 256)).astype(np.float32)
    weights[::40] *= 30
    return {"w": weights}


def depthwise() -> dict[str, Array]:
    draw = generator()
    scales = 2.0 ** draw.uniform(-4, 1, (192, 1, 1, 1))
    smooth = np.outer(*[np.hanning(7)[1:-1]] * 2)
    kernels = {
        f"depthwise{i}": draw.normal(size=(192, 1, 5, 5)) * smooth * scales for i in range(4)
    }
    kernels["pointwise"] = draw.laplace(size=(96, 192, 1, 1)) * 0.05
    return {name: a.astype(np.float32) for name, a in kernels.items()}


def unequal_scales() -> dict[str, Array]:
    draw = generator()
    rows = np.exp(draw.normal(0, 1.2, (256, 1)))
    tensors = {"rows": draw.normal(size=(256, 160)) * rows, "small": draw.normal(0, 1e-3, (64, 96))}
    tensors["few"] = np.round(draw.normal(size=(128, 128)) * 3) / 3
    tensors["mixture"] = np.where(draw.random((200, 100)) < 0.9, 0.01, 1.0) * draw.normal(
        size=(200, 100)
    )
    return {name: a.astype(np.float32) for name, a in tensors.items()}


INPUTS: dict[str, Callable[[], dict[str, Array]]] = {
    "trained": trained,
    "outlier rows": outlier_rows,
    "depthwise": depthwise,
    "unequal scales": unequal_scales,
}
BYTES = {
    ("trained", "paper", "layers"): 124_859,
    ("trained", "paper", "model"): 151_846,
    ("trained", "balanced", "layers"): 112_720,
    ("trained", "balanced", "model"): 137_668,
    ("trained", "max", "layers"): 95_980,
    ("trained", "max", "model"): 118_244,
    ("outlier rows", "paper", "layers"): 32_010,
    ("outlier rows", "paper", "model"): 20_213,
    ("outlier rows", "balanced", "layers"): 33_186,
    ("outlier rows", "balanced", "model"): 16_979,
    ("outlier rows", "max", "layers"): 33_066,
    ("outlier rows", "max", "model"): 16_814,
    ("depthwise", "paper", "layers"): 20_951,
    ("depthwise", "paper", "model"): 19_737,
    ("depthwise", "balanced", "layers"): 18_958,
    ("depthwise", "balanced", "model"): 17_319,
    ("depthwise", "max", "layers"): 17_130,
    ("depthwise", "max", "model"): 15_289,
    ("unequal scales", "paper", "layers"): 35_508,
    ("unequal scales", "paper", "model"): 32_597,
    ("unequal scales", "balanced", "layers"): 29_336,
    ("unequal scales", "balanced", "model"): 24_558,
    ("unequal scales", "max", "layers"): 27_478,
    ("unequal scales", "max", "model"): 23_274,
}


@pytest.mark.parametrize("error_of", ["layers", "model"])
@pytest.mark.parametrize("preset", ["paper", "balanced", "max"])
@pytest.mark.parametrize("name", INPUTS)
def test_files_are_no_larger_than_they_were(
    tmp_path: Path, name: str, preset: str, error_of: str
) -> None:
    if preset == "max" and dcz.BACKEND == "numpy":
        pytest.skip("takes minutes in NumPy, whose bytes are the same")
    recipe = dcz.Recipe(preset=preset, max_error=2e-3, error_of=error_of)
    report = dcz.save_file(INPUTS[name](), tmp_path / "x.dcz", recipe)
    assert report.counted_error is not None and report.counted_error <= 2e-3
    assert report.file_bytes <= TOLERANCE * BYTES[name, preset, error_of]
