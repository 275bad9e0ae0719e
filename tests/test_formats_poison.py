"""Nothing of a checkpoint is executed, whatever format carries it; honest old files are read."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcz.cli import main
from dcz.codec.errors import DczError
from dcz.formats.checkpoints.registry import open_checkpoint

torch = pytest.importorskip("torch")

STATE = {"a": torch.arange(4.0), "b": torch.zeros(2, 3)}
CRAFT = Path.home() / ".cache" / "dcz-benchmarks" / "craft" / "craft_mlt_25k.pth"


class Poison:
    """Unpickling it creates a file, unless nothing of it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def torch_zip(poison: Poison) -> bytes:
    stream = io.BytesIO()
    torch.save(STATE | {"x": poison}, stream)
    return stream.getvalue()


def torch_plain(poison: Poison) -> bytes:
    stream = io.BytesIO()
    torch.save(STATE | {"x": poison}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def torch_tar(poison: Poison) -> bytes:
    """PyTorch's oldest format: a tar archive of three pickles."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(poison, 2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def bare_pickle(poison: Poison) -> bytes:
    return pickle.dumps({"w": poison}, 2)


def object_array(poison: Poison) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([poison], object), allow_pickle=True)
    return stream.getvalue()


def object_archive(poison: Poison) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{name: t.numpy() for name, t in STATE.items()}, x=np.array([poison], object))
    return stream.getvalue()


def torch_zip_of_code(poison: Poison) -> bytes:
    """A zip of PyTorch that was made by hand: its data.pkl is nothing but the poison."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(poison, 2))
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


MAKERS: dict[str, Callable[[Poison], bytes]] = {
    "torch.pt": torch_zip,
    "plain.pt": torch_plain,
    "tar.pt": torch_tar,
    "bare.pt": bare_pickle,
    "by-hand.pt": torch_zip_of_code,
    "object.npy": object_array,
    "objects.npz": object_archive,
}
CAUSES = {
    "tar.pt": "legacy .tar format",
    "bare.pt": "no tensors",
    "by-hand.pt": r"no tensors but (posix|nt)\.system, an object that was not made",
    "object.npy": "object",
}


@pytest.mark.parametrize("name", CAUSES)
def test_poison_without_tensors_is_refused_with_the_reason_and_not_run(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, victim = tmp_path / name, tmp_path / "ran"
    path.write_bytes(MAKERS[name](Poison(victim)))
    with pytest.raises(DczError, match=CAUSES[name]) as caught:
        open_checkpoint(path)
    assert caught.value.file == str(path)
    for command in ("inspect", "pack"):
        assert main([command, str(path)]) == 3
        assert str(path) in capsys.readouterr().err
    assert not victim.exists()
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["torch.pt", "plain.pt", "objects.npz"])
def test_poison_beside_tensors_is_left_out_and_not_run(tmp_path: Path, name: str) -> None:
    path, victim, packed = tmp_path / name, tmp_path / "ran", tmp_path / "m.dcz"
    path.write_bytes(MAKERS[name](Poison(victim)))
    assert main(["inspect", str(path)]) == 0
    assert main(["pack", str(path), "-o", str(packed)]) == 0
    with open_checkpoint(packed) as checkpoint:
        assert {name: checkpoint.read(name).tolist() for name in checkpoint.tensors} == {
            name: tensor.tolist() for name, tensor in STATE.items()
        }
    assert not victim.exists()


def on_a_gpu(content: bytes) -> bytes:
    """The same file, its tensors said to have been on a GPU: a string of the pickles."""
    cpu, gpu = b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0"
    assert cpu in content
    return content.replace(cpu, gpu)


def test_an_old_file_saved_on_a_gpu_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save(STATE, stream, _use_new_zipfile_serialization=False)
    path = tmp_path / "gpu.pth"
    path.write_bytes(on_a_gpu(stream.getvalue()))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.read("a").tolist() == [0, 1, 2, 3]
        assert checkpoint.read("b").shape == (2, 3)


@pytest.mark.skipif(not CRAFT.exists(), reason="benchmarks/checkpoints.py fetches it")
def test_craft_is_read() -> None:
    with open_checkpoint(CRAFT) as checkpoint:
        assert len(checkpoint.tensors) == 154
        assert checkpoint.read(next(iter(checkpoint.tensors))).shape == (64, 3, 3, 3)
