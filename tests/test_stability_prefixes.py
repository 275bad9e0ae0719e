"""A file that was cut off, added to or joined with another is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import dcz

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dcz"))
each_file = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def refused(path: Path, data: bytes) -> dcz.CorruptError:
    path.write_bytes(data)
    return refused_file(path)


def refused_file(path: Path) -> dcz.CorruptError:
    with pytest.raises(dcz.CorruptError) as caught:
        dcz.open(path)
    assert caught.value.file == str(path)
    assert str(path) in str(caught.value)
    return caught.value


@each_file
def test_every_prefix_is_refused_as_cut_off(path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.dcz"
    cut.write_bytes(path.read_bytes())
    for size in reversed(range(path.stat().st_size)):
        os.truncate(cut, size)
        assert isinstance(refused_file(cut), dcz.TruncatedError), size


@each_file
def test_what_lacks_its_start_is_refused(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    for size in range(0, len(data), 1 + len(data) // 500):
        refused(tmp_path / "cut.dcz", data[len(data) - size :])


@each_file
@pytest.mark.parametrize("byte", [b"\0", b"\xff", b"Z", b"\x1a"])
def test_bytes_appended_are_refused(path: Path, tmp_path: Path, byte: bytes) -> None:
    data = path.read_bytes()
    for count in (1, 2, 3, 4, 8, 12, 63, 64, 4096):
        refused(tmp_path / "longer.dcz", data + count * byte)


@each_file
def test_files_joined_are_refused(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    other = GOLDEN[0].read_bytes()
    refused(tmp_path / "joined.dcz", data + data)
    refused(tmp_path / "joined.dcz", other + data)
    refused(tmp_path / "joined.dcz", data[8:])
    refused(tmp_path / "joined.dcz", data[:8] + b"\0" + data[8:])


def test_an_empty_file_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    refused(tmp_path / "empty.dcz", b"")
    with pytest.raises(FileNotFoundError):
        dcz.open(tmp_path / "missing.dcz")


def test_a_newer_version_is_named(tmp_path: Path) -> None:
    data = bytearray(GOLDEN[0].read_bytes())
    data[7] = 2
    path = tmp_path / "newer.dcz"
    path.write_bytes(data)
    with pytest.raises(dcz.VersionError, match=r"version 2.*up to 1"):
        dcz.open(path)
    data[7] = 0
    refused(path, bytes(data))
