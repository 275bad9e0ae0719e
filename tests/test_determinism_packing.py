"""Equal tensors and an equal recipe give equal bytes: threads, backends, seeds and runs aside."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.codec.calibration.record import Calibration, Sensed

Tensors = dict[str, np.ndarray[Any, Any]]
Draw = Callable[..., np.ndarray[Any, Any]]
RECIPES = {
    "default": dcz.Recipe(),
    "paper": dcz.Recipe(sparsity=0.9, bits=5),
    "optimal": dcz.Recipe(bits=3, initialisation="optimal", scope="tensor", sparsity=0.3),
    "density": dcz.Recipe(bits=8, initialisation="density"),
    "random": dcz.Recipe(levels=300, initialisation="random", threshold=0.5),
    "wide": dcz.Recipe(levels=5000),
    "exact": dcz.Recipe(quantizer="lossless"),
    "strict": dcz.Recipe(max_error=1e-5),
}


def draws(seed: int) -> tuple[Draw, Draw]:
    # Only what NumPy promises to keep: raw bits of PCG64, and exact arithmetic on them.
    bits = np.random.PCG64(seed)

    def uniform(*shape: int) -> np.ndarray[Any, Any]:
        raw = bits.random_raw(int(np.prod(shape))) >> 11
        return (raw.astype(np.float64) * 2.0**-53).reshape(shape)

    def bell(*shape: int) -> np.ndarray[Any, Any]:
        return uniform(*shape) + uniform(*shape) + uniform(*shape) + uniform(*shape) - 2

    return uniform, bell


def embedding() -> tuple[Tensors, dcz.Recipe]:
    """A tensor whose rows get half steps of their own, by a calibration without moments."""
    array = draws(8)[1](100, 30).astype(np.float32)
    rows = np.where(np.arange(100) % 20, 1, 1000).astype(np.float32)
    known = Calibration({"e": Sensed.of(array, rows)}, {}, 1e6, 1)
    recipe = dcz.Recipe(preset="max", states=4, max_error=1e-3, calibration=known)
    return {"e": array}, recipe


def model() -> Tensors:
    uniform, bell = draws(7)
    tensors: Tensors = {}
    for i in range(12):
        tensors[f"layers.{i}.weight"] = bell(40 + i, 30).astype(np.float32)
        tensors[f"layers.{i}.bias"] = bell(30).astype(np.float32)
        tensors[f"layers.{i}.count"] = np.array(i)
    tensors["large"] = bell(300, 400).astype(np.float32)
    tensors["half"] = bell(200, 300).astype(np.float16)
    tensors["double"] = bell(100, 200)
    tensors["cubed"] = (bell(150, 200) ** 3).astype(np.float32)
    tensors["codes"] = (15 * uniform(300, 300) * uniform(300, 300)).astype(np.int8)
    tensors["tied"] = tensors["large"]
    tensors["copy"] = tensors["layers.0.bias"].copy()
    return tensors


def digest(tensors: Tensors, path: Path, recipe: dcz.Recipe, **options: Any) -> str:
    dcz.save_file(tensors, path, recipe, **options)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digests(folder: Path) -> dict[str, str]:
    found = {name: digest(model(), folder / "x.dcz", recipe) for name, recipe in RECIPES.items()}
    tensors, recipe = embedding()
    return found | {"by-rows": digest(tensors, folder / "x.dcz", recipe)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digests(tmp_path_factory.mktemp("expected"))


@pytest.mark.parametrize("jobs", [1, 2, 3, 5, 8])
def test_threads_do_not_show(tmp_path: Path, expected: dict[str, str], jobs: int) -> None:
    for name in ("default", "paper", "exact"):
        assert digest(model(), tmp_path / "x.dcz", RECIPES[name], jobs=jobs) == expected[name]


def test_runs_names_and_what_was_there_do_not_show(
    tmp_path: Path, expected: dict[str, str]
) -> None:
    path = tmp_path / "x.dcz"
    path.write_bytes(b"something else")
    assert digest(model(), path, RECIPES["paper"]) == expected["paper"]
    assert digest(model(), path, RECIPES["paper"]) == expected["paper"]
    assert digest(model(), tmp_path / "another name", RECIPES["paper"]) == expected["paper"]


def test_layout_in_memory_does_not_show(tmp_path: Path, expected: dict[str, str]) -> None:
    tensors = model()
    large = np.asfortranarray(tensors["large"])
    tensors["large"] = tensors["tied"] = large
    tensors["double"] = tensors["double"].astype(">f8")
    tensors["half"] = np.repeat(tensors["half"], 2, axis=1)[:, ::2]
    assert digest(tensors, tmp_path / "x.dcz", RECIPES["default"]) == expected["default"]


def test_the_source_format_does_not_show(tmp_path: Path) -> None:
    tensors = {"b": np.arange(6.0).reshape(2, 3), "a": model()["half"]}
    np.savez(tmp_path / "x.npz", **tensors)
    dcz.pack(tmp_path / "x.npz", tmp_path / "packed.dcz")
    dcz.save_file(tensors, tmp_path / "saved.dcz")
    assert (tmp_path / "packed.dcz").read_bytes() == (tmp_path / "saved.dcz").read_bytes()


@pytest.mark.parametrize(("backend", "seed"), [("c", "0"), ("c", "1"), ("numpy", "4711")])
def test_backends_and_hash_seeds_do_not_show(
    tmp_path: Path, expected: dict[str, str], backend: str, seed: str
) -> None:
    environment = os.environ | {"DCZ_BACKEND": backend, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, __file__, tmp_path], env=environment, capture_output=True, text=True
    )
    if backend == "c" and "without its C extension" in done.stderr:
        pytest.skip("the C extension was not built")
    assert done.returncode == 0, done.stderr
    told = dict(line.split() for line in done.stdout.splitlines())
    assert told.pop("backend") == backend
    assert told == expected


def test_both_backends_decode_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.dcz"
    dcz.save_file(model(), path, RECIPES["paper"])
    here = hashlib.sha256(b"".join(a.tobytes() for a in dcz.load_file(path).values())).hexdigest()
    script = (
        "import dcz, hashlib, sys; print(hashlib.sha256(b''.join("
        "a.tobytes() for a in dcz.load_file(sys.argv[1]).values())).hexdigest())"
    )
    environment = os.environ | {"DCZ_BACKEND": "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", script, path], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == here, done.stderr


if __name__ == "__main__":
    print("backend", dcz.BACKEND)
    for key, value in digests(Path(sys.argv[1])).items():
        print(key, value)
