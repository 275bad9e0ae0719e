"""A flipped bit is an error that has a type and names the file: never a wrong tensor."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

import dcz

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dcz"))
EXHAUSTIVE_BELOW = 600  # bytes; larger files one bit of each byte unless slow tests are asked for
STEP = 1 if dcz.BACKEND == "c" else 7
each_file = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def read_all(path: Path) -> dict[str, bytes | None]:
    """Each tensor's bytes; None where its frame or digest was refused."""
    with dcz.open(path, jobs=1) as archive:
        content: dict[str, bytes | None] = {}
        for name in archive:
            try:
                content[name] = archive[name].tobytes()
            except dcz.CorruptError as error:
                assert error.file == str(path)
                assert error.tensor == name
                content[name] = None
        return content


def assert_flips_are_caught(path: Path, copy: Path, flips: Iterable[tuple[int, int]]) -> None:
    data = path.read_bytes()
    good = read_all(path)
    copy.write_bytes(data)
    descriptor = os.open(copy, os.O_WRONLY)
    try:
        for at, bit in flips:
            os.pwrite(descriptor, bytes([data[at] ^ 1 << bit]), at)
            try:
                content = read_all(copy)
            except dcz.DczError as error:
                assert error.file == str(copy)
            else:
                assert None in content.values(), f"bit {bit} of byte {at} went unnoticed"
                assert all(v in (None, good[name]) for name, v in content.items())
            os.pwrite(descriptor, data[at : at + 1], at)
    finally:
        os.close(descriptor)


@each_file
def test_every_flipped_byte_of_a_golden_file_is_caught(path: Path, tmp_path: Path) -> None:
    size = path.stat().st_size
    if size < EXHAUSTIVE_BELOW:
        flips = [(at, bit) for at in range(0, size, STEP) for bit in range(8)]
    else:
        flips = [(at, random.Random(at).randrange(8)) for at in range(0, size, STEP)]
    assert_flips_are_caught(path, tmp_path / "flipped.dcz", flips)


@pytest.mark.slow
@each_file
def test_every_flipped_bit_of_a_golden_file_is_caught(path: Path, tmp_path: Path) -> None:
    flips = ((at, bit) for at in range(path.stat().st_size) for bit in range(8))
    assert_flips_are_caught(path, tmp_path / "flipped.dcz", flips)


@each_file
def test_a_report_of_a_flipped_file_is_refused_or_right(
    path: Path, tmp_path: Path, dczformat: ModuleType
) -> None:
    data = path.read_bytes()
    copy = tmp_path / "flipped.dcz"
    for at in range(0, len(data), 41):
        copy.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(dcz.DczError), dcz.open(copy) as archive:
            archive.report()
            for name in archive:  # a flip in a digest shows only when its tensor is decoded
                archive[name]
