"""Many small tensors: equal bytes whoever encodes them, the promised error, all counted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import dcz
from dcz.codec.share import tiny

Tensors = dict[str, np.ndarray[Any, Any]]
RECIPES = {
    "balanced": dcz.Recipe(preset="balanced"),
    "bits": dcz.Recipe(bits=5),
    "size": dcz.Recipe(preset="balanced", target_ratio=2.5),
    "coarse": dcz.Recipe(preset="balanced", max_error=1e-2),
}
# On the NumPy backend.
SLOWLY = ("balanced", "bits")


def model(count: int = 560) -> Tensors:
    # Sums of raw bits: every machine draws the same.
    draws = np.random.PCG64(3)

    def bell(*shape: int) -> np.ndarray[Any, Any]:
        raw = draws.random_raw(4 * int(np.prod(shape))) >> 11
        return 0.02 * ((raw * 2.0**-53).reshape(4, *shape).sum(axis=0) - 2)

    tensors: Tensors = {}
    for i in range(count):
        tensors[f"l.{i}.weight"] = bell(4, 4 + i % 5).astype(np.float32)
    for i in range(9):
        tensors[f"h.{i}.weight"] = bell(3, 5).astype(np.float16)
        tensors[f"b.{i}.weight"] = bell(11, 11).astype(ml_dtypes.bfloat16)
        tensors[f"d.{i}.weight"] = bell(2, 9) * 10.0 ** (i % 4)
        tensors[f"h.{i}.bias"] = bell(5).astype(np.float16)
        tensors[f"s.{i}.weight"] = bell(40, 30).astype(np.float32)
    tensors["zeros"] = np.zeros((4, 4), np.float32)
    tensors["signs"] = np.where(bell(4, 8) > 0, 1, -1).astype(np.float32)
    tensors["infinite"] = np.array([[1, np.inf], [2, 3]], np.float32)
    tensors["nothing"] = np.zeros((0, 4), np.float32)
    tensors["denormal"] = (bell(4, 4) * 1e-43).astype(np.float32)
    tensors["outlier"] = np.concatenate([bell(1, 15), [[1e30]]], axis=1).astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dict(pack_all(tmp_path_factory.mktemp("packed"), RECIPES, 1))


def pack_all(folder: Path, names: Iterable[str], jobs: int) -> list[tuple[str, bytes]]:
    found = []
    for name in names:
        dcz.save_file(model(), folder / "x.dcz", RECIPES[name], jobs=jobs)
        found.append((name, (folder / "x.dcz").read_bytes()))
    return found


@pytest.mark.parametrize("jobs", [2, 5])
def test_threads_do_not_show(tmp_path: Path, packed: dict[str, bytes], jobs: int) -> None:
    assert dict(pack_all(tmp_path, RECIPES, jobs)) == packed


def test_backends_do_not_show(tmp_path: Path, packed: dict[str, bytes]) -> None:
    environment = os.environ | {"DCZ_BACKEND": "numpy"}
    done = subprocess.run(
        [sys.executable, __file__, tmp_path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in SLOWLY:
        assert (tmp_path / name).read_bytes() == packed[name]


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "size"])
def test_what_comes_back_has_the_error_that_was_promised(
    tmp_path: Path, packed: dict[str, bytes], name: str
) -> None:
    path = tmp_path / "x.dcz"
    path.write_bytes(packed[name])
    lost = energy = 0.0
    tensors, found = model(), dcz.load_file(path)
    assert list(found) == list(tensors)
    for key, array in tensors.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        if array.ndim < 2 or not np.isfinite(array.astype(np.float64)).all():
            assert found[key].tobytes() == array.tobytes()
            continue
        wide, again = array.astype(np.float64), found[key].astype(np.float64)
        lost += float(np.sum((wide - again) ** 2))
        energy += float(np.sum(wide**2))
    report = dcz.open(path).report()
    assert report.relative_error == pytest.approx(lost / energy, rel=1e-6)
    if RECIPES[name].bits is None:
        assert lost <= RECIPES[name].error_bound * energy
    for key in ("zeros", "signs"):
        assert found[key].tobytes() == tensors[key].tobytes()


@pytest.mark.parametrize("name", list(RECIPES))
def test_all_bytes_are_accounted_for(tmp_path: Path, packed: dict[str, bytes], name: str) -> None:
    path = tmp_path / "x.dcz"
    told = dcz.save_file(model(), path, RECIPES[name])
    found = dcz.open(path).report()
    assert sum(found.parts.values()) == found.file_bytes == len(packed[name])
    coded = sum(
        found.parts[part] for part in ("indices", "gaps", "tables", "codebooks", "lossless")
    )
    assert sum(tensor.bits for tensor in found.tensors) == 8 * coded
    assert told.tensors == found.tensors
    assert told.parts == found.parts


def test_tiny_tensors_do_not_depend_on_what_stands_beside_them() -> None:
    arrays = [array.reshape(-1) for name, array in model(50).items() if name.startswith("l.")]
    steps = [float(np.float32(0.001 * (i + 1))) for i in range(len(arrays))]
    together = tiny.quantize(arrays, steps)
    for i, array in enumerate(arrays):
        own, (alone,) = together[i], tiny.quantize([array], [steps[i]])
        assert own is not None and alone is not None
        assert own.values.tobytes() == alone.values.tobytes()
        assert (own.squared_error, own.energy) == (alone.squared_error, alone.energy)
        wide = array.astype(np.float64)
        assert own.energy == pytest.approx(float(np.sum(wide**2)), rel=1e-12)
        assert own.squared_error == pytest.approx(float(np.sum((wide - own.values) ** 2)))


if __name__ == "__main__":
    for key, content in pack_all(Path(sys.argv[1]), SLOWLY, 1):
        (Path(sys.argv[1]) / key).write_bytes(content)
