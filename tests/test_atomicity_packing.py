"""Packing changes its target at the very end, all at once, and nothing else ever."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.formats import atomic
from dcz.formats.checkpoints.numpy_files.npz import MappingCheckpoint
from dcz.formats.pack import pack, packer, writer

Tensors = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def tensors() -> Tensors:
    generator = np.random.default_rng(0)
    return {
        "a": generator.normal(size=(40, 50)).astype(np.float32),
        "b": np.arange(5),
        "c": generator.normal(size=(100, 60)),
    }


class FailsAt(MappingCheckpoint):
    """Arrays that cannot be read any more from the n-th time on."""

    def __init__(self, arrays: Tensors, times: int) -> None:
        super().__init__(arrays)
        self.times = times

    def read(self, name: str) -> np.ndarray[Any, Any]:
        self.times -= 1
        if self.times < 0:
            raise OSError("the disk went away")
        return super().read(name)


@pytest.mark.parametrize("old", [None, b"", b"the old file"])
def test_an_error_in_the_middle_leaves_what_was_there(
    tmp_path: Path, tensors: Tensors, old: bytes | None
) -> None:
    path = tmp_path / "model.dcz"
    if old is not None:
        path.write_bytes(old)
    failures = 0
    for times in range(100):
        try:
            pack.pack(FailsAt(tensors, times), path)
        except OSError as error:
            assert "went away" in str(error)
            failures += 1
            assert (path.read_bytes() if path.exists() else None) == old
            assert os.listdir(tmp_path) == ([] if old is None else [path.name])
        else:
            break
    assert failures >= 3
    assert list(dcz.load_file(path)) == list(tensors)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (writer.ContainerWriter, "add_frame"),
        (writer.ContainerWriter, "finish"),
        (pack, "verify"),
        (packer.pipeline, "encode"),
        (atomic.os, "fsync"),
        (atomic.os, "replace"),
    ],
)
@pytest.mark.parametrize("kind", [OSError, MemoryError, KeyboardInterrupt])
def test_a_failure_of_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
    tensors: Tensors,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    kind: type[BaseException],
) -> None:
    path = tmp_path / "model.dcz"
    dcz.save_file({"old": np.arange(3)}, path)
    old = path.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        raise kind("no more")

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(kind, match="no more"):
        dcz.save_file(tensors, path)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["model.dcz"]


def test_a_faulty_encoder_is_found_before_the_old_file_is_replaced(
    tmp_path: Path, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.dcz"
    path.write_bytes(b"old")
    add_frame = writer.ContainerWriter.add_frame

    def faulty(self: Any, frame: Any) -> int:
        payload = bytes(frame.payload[:-1]) + bytes([frame.payload[-1] ^ 1])
        return add_frame(self, dataclasses.replace(frame, payload=payload))

    monkeypatch.setattr(writer.ContainerWriter, "add_frame", faulty)
    with pytest.raises(dcz.CorruptError):
        dcz.save_file(tensors, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.dcz"]


def test_what_could_not_be_read_again_is_not_packed(tmp_path: Path, tensors: Tensors) -> None:
    checkpoint = MappingCheckpoint(tensors)
    checkpoint.metadata = {"too much": "x" * (1 << 24)}
    path = tmp_path / "model.dcz"
    path.write_bytes(b"old")
    with pytest.raises(dcz.LimitError, match="metadata of 16777231 bytes") as caught:
        pack.pack(checkpoint, path)
    assert caught.value.file == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.dcz"]


def test_a_recipe_that_does_not_fit_leaves_nothing(tmp_path: Path, tensors: Tensors) -> None:
    recipe = dcz.Recipe(rules=[dcz.Rule(pattern="nobody", bits=3)])
    with pytest.raises(dcz.RecipeError, match="nobody"):
        dcz.save_file(tensors, tmp_path / "model.dcz", recipe)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pt"])
def test_a_source_can_be_packed_onto_itself(tmp_path: Path, tensors: Tensors, ending: str) -> None:
    path = tmp_path / f"model.{ending}"
    if ending == "npz":
        np.savez(path, **tensors)
    elif ending == "safetensors":
        from safetensors.numpy import save_file

        save_file(tensors, path)
    else:
        import torch

        torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)
    dcz.pack(path, tmp_path / "other.dcz", dcz.Recipe(quantizer="lossless"))
    dcz.pack(path, path, dcz.Recipe(quantizer="lossless"))
    assert path.read_bytes() == (tmp_path / "other.dcz").read_bytes()
    for name, array in dcz.load_file(path).items():
        assert array.tobytes() == tensors[name].tobytes()


def test_a_packed_file_can_be_packed_onto_itself(tmp_path: Path, tensors: Tensors) -> None:
    path = tmp_path / "model.dcz"
    dcz.save_file(tensors, path)
    before = dcz.load_file(path)
    dcz.pack(path, path)
    after = dcz.load_file(path)
    assert {n: a.tobytes() for n, a in after.items()} == {n: a.tobytes() for n, a in before.items()}


def test_unpacking_onto_the_source_gives_the_tensors(tmp_path: Path, tensors: Tensors) -> None:
    path = tmp_path / "model.npz"
    dcz.save_file(tensors, path, dcz.Recipe(quantizer="lossless"))
    dcz.unpack(path, path)
    with np.load(path) as content:
        assert {n: content[n].tobytes() for n in content} == {
            n: a.tobytes() for n, a in tensors.items()
        }


def test_an_open_archive_outlives_the_replacement_of_its_file(
    tmp_path: Path, tensors: Tensors
) -> None:
    path = tmp_path / "model.dcz"
    dcz.save_file(tensors, path)
    with dcz.open(path) as archive:
        before = archive["a"]
        dcz.save_file({"a": np.zeros(3)}, path)
        assert np.array_equal(archive["a"], before)
    assert dcz.load_file(path)["a"].shape == (3,)


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("recipe", [None, dcz.Recipe(bits=3, sparsity=0.5)])
def test_the_arrays_are_not_changed(
    tmp_path: Path, tensors: Tensors, writable: bool, recipe: dcz.Recipe | None
) -> None:
    tensors["transposed"] = np.asfortranarray(tensors["a"])
    tensors["strided"] = tensors["c"][::3, ::-2]
    tensors["big-endian"] = tensors["a"].astype(">f4")
    copies = {name: array.copy() for name, array in tensors.items()}
    flags = {}
    for name, array in tensors.items():
        array.flags.writeable = writable
        flags[name] = str(array.flags)
    dcz.save_file(tensors, tmp_path / "model.dcz", recipe)
    for name, array in tensors.items():
        assert array.tobytes() == copies[name].tobytes()
        assert array.dtype == copies[name].dtype
        assert str(array.flags) == flags[name]


def test_the_source_file_is_not_changed(tmp_path: Path, tensors: Tensors) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, **tensors)
    before = path.read_bytes(), path.stat().st_mtime_ns
    dcz.pack(path, tmp_path / "model.dcz", dcz.Recipe(bits=2, sparsity=0.9))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_what_was_decoded_may_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "model.dcz"
    small = {f"s{i}": np.arange(10.0) + i for i in range(5)}
    dcz.save_file(small, path)
    with dcz.open(path) as archive:
        for name in archive:
            array = archive[name]
            assert array.flags.writeable
            array[:] = -1
        for name in archive:
            assert np.array_equal(archive[name], small[name])
