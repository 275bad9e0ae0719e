"""`dcz unpack`: endings, single tensors, standard streams, and which files it may replace."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save_file

import dcz
from dcz.cli import main

Capture = pytest.CaptureFixture[str]
BinaryCapture = pytest.CaptureFixture[bytes]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A packed file whose source is gone."""
    draw = np.random.default_rng(0).standard_normal
    tensors = {
        "encoder.weight": draw((64, 48)).astype(np.float32),
        "encoder.bias": draw(48).astype(np.float32),
        "mask": np.array([True, False, True]),
    }
    source = tmp_path / "source.safetensors"
    save_file(tensors, source, metadata={"author": "someone"})
    path = tmp_path / "model.dcz"
    dcz.pack(source, path)
    source.unlink()
    return path


def run(*arguments: object) -> int:
    """Run the command line in this process."""
    return main([str(argument) for argument in arguments])


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make `content` standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def same(found: dict[str, np.ndarray], packed: Path) -> bool:
    expected = dcz.load_file(packed)
    return found.keys() == expected.keys() and all(
        found[name].tobytes() == array.tobytes() and found[name].shape == array.shape
        for name, array in expected.items()
    )


def test_default_output_is_safetensors(packed: Path) -> None:
    assert run("unpack", packed) == 0
    assert same(load_file(packed.with_suffix(".safetensors")), packed)


def test_npz(packed: Path) -> None:
    dest = packed.with_name("out.npz")
    assert run("unpack", packed, "-o", dest) == 0
    with np.load(dest) as arrays:
        assert same(dict(arrays), packed)


@pytest.mark.parametrize("ending", [".pt", ".pth"])
def test_torch(ending: str, packed: Path) -> None:
    torch = pytest.importorskip("torch")
    dest = packed.with_name("out" + ending)
    assert run("unpack", packed, "-o", dest) == 0
    state = torch.load(dest, weights_only=True)
    assert same({name: tensor.numpy() for name, tensor in state.items()}, packed)


def test_ending_in_capitals(packed: Path) -> None:
    dest = packed.with_name("OUT.SAFETENSORS")
    assert run("unpack", packed, "-o", dest) == 0
    assert same(load_file(dest), packed)


@pytest.mark.parametrize("jobs", [1, 2, 50])
def test_jobs_change_nothing(jobs: int, packed: Path) -> None:
    dest = packed.with_name("out.safetensors")
    assert run("unpack", packed, "-o", dest, "--jobs", jobs) == 0
    assert same(load_file(dest), packed)


def test_one_tensor(packed: Path) -> None:
    dest = packed.with_name("one.safetensors")
    assert run("unpack", packed, "-o", dest, "--tensor", "encoder.bias") == 0
    assert list(load_file(dest)) == ["encoder.bias"]


@pytest.mark.parametrize("name", ["nope", "", "encoder", "encoder.*"])
def test_unknown_tensor(name: str, packed: Path, capsys: Capture) -> None:
    dest = packed.with_name("one.safetensors")
    assert run("unpack", packed, "-o", dest, "--tensor", name) == 2
    err = capsys.readouterr().err
    assert str(packed) in err
    assert repr(name) in err
    assert not dest.exists()


def test_json(packed: Path, capsys: Capture) -> None:
    dest = packed.with_name("out.npz")
    assert run("unpack", packed, "-o", dest, "--json") == 0
    table = json.loads(capsys.readouterr().out)
    assert table["file"] == str(dest)
    assert table["tensors"] == 3
    assert table["bytes"] == 64 * 48 * 4 + 48 * 4 + 3


@pytest.mark.parametrize("name", ["out.foo", "out", "out.onnx", "out.dcz", "out.npy"])
def test_wrong_endings_are_wrong_usage(name: str, packed: Path, capsys: Capture) -> None:
    dest = packed.with_name(name)
    assert run("unpack", packed, "-o", dest) == 2
    err = capsys.readouterr().err
    assert str(dest) in err
    assert ".safetensors" in err
    assert list(packed.parent.iterdir()) == [packed]


def test_the_default_name_replaces_nothing_without_force(packed: Path, capsys: Capture) -> None:
    dest = packed.with_suffix(".safetensors")
    dest.write_text("the only copy of the original")
    assert run("unpack", packed) == 2
    err = capsys.readouterr().err
    assert str(dest) in err
    assert "--force" in err
    assert dest.read_text() == "the only copy of the original"
    assert run("unpack", packed, "--force") == 0
    assert same(load_file(dest), packed)


def test_the_packed_file_is_never_replaced(packed: Path, capsys: Capture) -> None:
    disguised = packed.rename(packed.with_name("model.npz"))
    before = hashlib.sha256(disguised.read_bytes()).digest()
    assert run("unpack", disguised, "-o", disguised, "--force") == 2
    assert str(disguised) in capsys.readouterr().err
    assert hashlib.sha256(disguised.read_bytes()).digest() == before


def test_output_directory_that_is_not_there(packed: Path, capsys: Capture) -> None:
    dest = packed.parent / "no" / "out.npz"
    assert run("unpack", packed, "-o", dest) == 4
    err = capsys.readouterr().err
    assert str(dest) in err
    assert ".tmp" not in err


def test_output_that_is_a_directory(packed: Path, capsys: Capture) -> None:
    dest = packed.with_name("folder.npz")
    dest.mkdir()
    assert run("unpack", packed, "-o", dest, "--force") == 4
    assert str(dest) in capsys.readouterr().err
    assert list(dest.iterdir()) == []


def test_a_corrupt_file_leaves_the_old_output(packed: Path, capsys: Capture) -> None:
    dest = packed.with_name("out.npz")
    dest.write_text("old")
    content = bytearray(packed.read_bytes())
    content[60] ^= 1
    packed.write_bytes(content)
    assert run("unpack", packed, "-o", dest, "--force") == 3
    err = capsys.readouterr().err
    assert str(packed) in err
    assert "encoder" in err
    assert dest.read_text() == "old"
    assert set(packed.parent.iterdir()) == {packed, dest}


def test_to_standard_output(packed: Path, capsysbinary: BinaryCapture) -> None:
    assert run("unpack", packed, "-o", "-") == 0
    captured = capsysbinary.readouterr()
    assert same(load(captured.out), packed)
    assert captured.err == b""


def test_json_leaves_standard_output_to_the_tensors(
    packed: Path, capsysbinary: BinaryCapture
) -> None:
    assert run("unpack", packed, "-o", "-", "--json") == 0
    captured = capsysbinary.readouterr()
    assert same(load(captured.out), packed)
    assert json.loads(captured.err)["tensors"] == 3


def test_pack_and_unpack_through_standard_streams(
    packed: Path, capsysbinary: BinaryCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = packed.with_name("plain.safetensors")
    dcz.unpack(packed, plain)
    feed(monkeypatch, plain.read_bytes())
    assert run("pack", "-", "-o", "-") == 0
    piped = capsysbinary.readouterr().out
    dcz.pack(plain, packed)
    assert piped == packed.read_bytes()
    feed(monkeypatch, piped)
    assert run("unpack", "-", "-o", "-") == 0
    assert same(load(capsysbinary.readouterr().out), packed)


def test_pack_from_standard_input_to_a_file(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, dest = packed.with_name("plain.safetensors"), packed.with_name("other.dcz")
    dcz.unpack(packed, plain)
    feed(monkeypatch, plain.read_bytes())
    assert run("pack", "-", "-o", dest) == 0
    dcz.pack(plain, packed)
    assert dest.read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("command", ["inspect", "report", "verify"])
def test_reading_from_standard_input(
    command: str, packed: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, packed.read_bytes())
    assert run(command, "-") == 0
    assert "/dcz-" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_json_does_not_name_the_temporary_copy(
    command: str, packed: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, packed.read_bytes())
    assert run(command, "-", "--json") == 0
    assert os.sep not in json.loads(capsys.readouterr().out)["file"]


@pytest.mark.parametrize("command", ["pack", "unpack", "inspect", "report", "verify"])
@pytest.mark.parametrize("content", [b"", b"nothing that anyone knows", b"\x89DCZ\r\n\x1a\x01"])
def test_bad_standard_input_is_named_as_such(
    command: str,
    content: bytes,
    capsysbinary: BinaryCapture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed(monkeypatch, content)
    assert run(command, "-") == 3
    captured = capsysbinary.readouterr()
    assert captured.out == b""
    assert captured.err.startswith((b"dcz: standard input:", b"dcz: <stdin>:", b"dcz: -:"))


def test_a_bad_second_file_is_not_taken_for_standard_input(
    packed: Path, capsysbinary: BinaryCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = packed.with_name("bad.dcz")
    bad.write_bytes(packed.read_bytes()[:-1])
    feed(monkeypatch, packed.read_bytes())
    assert run("verify", "-", "--against", bad) == 3
    assert capsysbinary.readouterr().err.startswith(f"dcz: {bad}:".encode())
