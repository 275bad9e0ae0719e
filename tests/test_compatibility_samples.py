"""The trained sample is what its page says; its data is read without running anything."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dcz

SAMPLES = Path(__file__).parents[1] / "samples"
DENSE_BYTES = {"lenet5": 1_724_320, "lenet-300-100": 1_066_440}
LENET_300_100 = {
    "fc1.weight": (300, 784),
    "fc1.bias": (300,),
    "fc2.weight": (100, 300),
    "fc2.bias": (100,),
    "fc3.weight": (10, 100),
    "fc3.bias": (10,),
}


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The sample's reader, under a name that no other module has."""
    spec = importlib.util.spec_from_file_location("sample_mnist", SAMPLES / "mnist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sample_mnist", module)
    spec.loader.exec_module(module)
    return module


def write(path: Path, content: object) -> Path:
    """Write a gzipped pickle of arrays in the same form as the data package has them."""
    path.write_bytes(gzip.compress(pickle.dumps(content, protocol=4)))
    return path


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a split of random images."""
    generator = np.random.default_rng(count)
    images = generator.integers(0, 256, (count, 784)).astype(np.float32) / 256
    return images, generator.integers(0, 10, count)


def test_sample_has_the_networks_tensors() -> None:
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(SAMPLES / "lenet-300-100.safetensors", "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    assert {name: array.shape for name, array in tensors.items()} == LENET_300_100
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    assert metadata.keys() >= {"test_error", "seed", "command"}
    assert f"{float(metadata['test_error']):.2%}" in (SAMPLES / "README.md").read_text()
    assert metadata["command"] in (SAMPLES / "README.md").read_text()


def test_digits_come_back(mnist: ModuleType, tmp_path: Path) -> None:
    splits = tuple(digits(count) for count in (30, 20, 10))
    data = mnist.load(write(tmp_path / "digits.gz", splits))
    for (images, labels), split in zip(
        splits, (data.train, data.validation, data.test), strict=True
    ):
        assert np.array_equal(images, split.images)
        assert np.array_equal(labels, split.labels)


class Evil:
    """A pickle that runs a command when an ordinary unpickler reads it."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (self.victim,)


def test_data_cannot_run_anything(mnist: ModuleType, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    path = write(tmp_path / "digits.gz", (digits(3), Evil(victim), digits(3)))
    with pytest.raises(pickle.UnpicklingError, match="no array needs"):
        mnist.load(path)
    assert not victim.exists()


PACKED = {
    "lenet5.dcz": ("lenet5", "best"),
    "lenet5.smaller.dcz": ("lenet5", "smaller"),
    "lenet-300-100.dcz": ("lenet-300-100", "best"),
}


@pytest.mark.parametrize("file", PACKED)
def test_packed_samples_are_the_recorded_ones(file: str) -> None:
    path = SAMPLES / file
    network, recipe = PACKED[file]
    rows = json.loads((SAMPLES / "results.json").read_text())
    (row,) = (r for r in rows if (r["network"], r["recipe"]) == (network, recipe))
    assert path.stat().st_size == row["bytes"]
    assert f"{row['bytes']:,} bytes" in (SAMPLES / "RECIPES.md").read_text()
    tensors = dcz.load_file(path)
    assert 4 * sum(tensor.size for tensor in tensors.values()) == DENSE_BYTES[network]
    with dcz.open(path) as archive:
        assert archive.metadata["test_error"] == f"{row['test_error']:.4f}"
    if network == "lenet-300-100":
        assert {name: array.shape for name, array in tensors.items()} == LENET_300_100
