"""Files that cannot be read: one line with the file and the cause, and the right exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dcz
from dcz.cli import main

Capture = pytest.CaptureFixture[str]
BAD_INPUT, IO_FAILURE = 3, 4


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "model.dcz"
    values = np.random.default_rng(0).standard_normal((80, 50)).astype(np.float32)
    dcz.save_file({"first.weight": values, "second.bias": values[0].copy()}, path)
    return path


def commands(path: Path, packed: Path) -> dict[str, list[str]]:
    """Every command, reading `path` in every place where a file is read."""
    out = path.parent / "out"
    return {
        "pack": ["pack", str(path), "-o", f"{out}.dcz"],
        "unpack": ["unpack", str(path), "-o", f"{out}.npz"],
        "inspect": ["inspect", str(path)],
        "report": ["report", str(path)],
        "verify": ["verify", str(path)],
        "against": ["verify", str(packed), "--against", str(path)],
        "measure": ["report", str(packed), "--against", str(path)],
        "diff": ["diff", str(path), str(packed)],
        "diff-second": ["diff", str(packed), str(path)],
    }


def check(arguments: list[str], path: Path, code: int, capsys: Capture) -> str:
    """Run, and return the one line of the message."""
    before = set(path.parent.iterdir())
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"dcz: {path}: ")
    assert set(path.parent.iterdir()) == before
    return lines[0]


ALL = sorted(commands(Path("x"), Path("y")))


@pytest.mark.parametrize("command", ALL)
@pytest.mark.parametrize("name", ["missing.dcz", "missing.safetensors", "no/such/folder.npz"])
def test_missing_file(command: str, name: str, packed: Path, capsys: Capture) -> None:
    path = packed.parent / name
    assert main(commands(path, packed)[command]) == IO_FAILURE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"dcz: {path}: No such file or directory\n"


@pytest.mark.parametrize("command", ALL)
def test_directory(command: str, packed: Path, capsys: Capture) -> None:
    path = packed.parent / "folder"
    path.mkdir()
    assert "directory" in check(commands(path, packed)[command], path, IO_FAILURE, capsys)


@pytest.mark.parametrize("command", ALL)
def test_dangling_link(command: str, packed: Path, capsys: Capture) -> None:
    path = packed.parent / "link.dcz"
    path.symlink_to("nowhere")
    check(commands(path, packed)[command], path, IO_FAILURE, capsys)


@pytest.mark.parametrize("command", ALL)
def test_path_through_a_file(command: str, packed: Path, capsys: Capture) -> None:
    assert main(commands(packed / "below", packed)[command]) == IO_FAILURE
    assert str(packed / "below") in capsys.readouterr().err


@pytest.mark.parametrize("command", [c for c in ALL if c != "measure"])
@pytest.mark.parametrize("ending", ["", ".dcz", ".safetensors", ".npz", ".npy"])
def test_empty_file(command: str, ending: str, packed: Path, capsys: Capture) -> None:
    path = packed.parent / f"empty{ending}"
    path.touch()
    check(commands(path, packed)[command], path, BAD_INPUT, capsys)


@pytest.mark.parametrize("command", [c for c in ALL if c != "measure"])
@pytest.mark.parametrize("name", ["notes.txt", "notes.dcz", "notes.safetensors", "notes.npz"])
def test_something_else(command: str, name: str, packed: Path, capsys: Capture) -> None:
    path = packed.parent / name
    path.write_text("These are notes, and no model at all.\n" * 9)
    check(commands(path, packed)[command], path, BAD_INPUT, capsys)


@pytest.mark.parametrize("command", ["unpack", "report", "verify"])
def test_a_checkpoint_where_a_packed_file_is_due(
    command: str, packed: Path, capsys: Capture
) -> None:
    path = packed.parent / "plain.safetensors"
    dcz.unpack(packed, path)
    line = check(commands(path, packed)[command], path, BAD_INPUT, capsys)
    assert "not a .dcz file" in line


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def grown(content: bytes) -> bytes:
    return content + b"\0"


def index_damaged(content: bytes) -> bytes:
    return content[:-30] + bytes([content[-30] ^ 1]) + content[-29:]


def of_the_future(content: bytes) -> bytes:
    return content[:7] + b"\x09" + content[8:]


def line_ends_translated(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("command", [c for c in ALL if c != "measure"])
@pytest.mark.parametrize("damage", [cut, grown, index_damaged, of_the_future, line_ends_translated])
def test_damaged_file(
    damage: Callable[[bytes], bytes], command: str, packed: Path, capsys: Capture
) -> None:
    path = packed.with_name("damaged.dcz")
    path.write_bytes(damage(packed.read_bytes()))
    line = check(commands(path, packed)[command], path, BAD_INPUT, capsys)
    if damage is of_the_future:
        assert "version 9" in line


@pytest.mark.parametrize("command", [c for c in ALL if c not in ("measure", "inspect")])
def test_damaged_frame_names_the_tensor(command: str, packed: Path, capsys: Capture) -> None:
    path = packed.with_name("damaged.dcz")
    content = bytearray(packed.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    line = check(commands(path, packed)[command], path, BAD_INPUT, capsys)
    assert "first.weight" in line


def test_a_version_of_the_future_says_what_is_read(packed: Path, capsys: Capture) -> None:
    packed.write_bytes(of_the_future(packed.read_bytes()))
    assert main(["verify", str(packed)]) == BAD_INPUT
    assert "up to 1" in capsys.readouterr().err


def test_an_empty_path_is_named(capsys: Capture) -> None:
    assert main(["inspect", ""]) == IO_FAILURE
    assert capsys.readouterr().err.startswith("dcz: '': ")


def test_no_pickle_is_executed(packed: Path, capsys: Capture) -> None:
    pytest.importorskip("torch")
    import os
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return os.mkdir, (str(packed.parent / "victim"),)

    path = packed.with_name("evil.pt")
    path.write_bytes(pickle.dumps({"weight": Evil()}, protocol=2))
    check(["pack", str(path), "-o", str(packed.parent / "out.dcz")], path, BAD_INPUT, capsys)
    assert not (packed.parent / "victim").exists()
