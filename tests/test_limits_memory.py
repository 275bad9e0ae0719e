"""Reading takes the memory of what is declared, and little more, whatever a payload holds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import dcz
from dcz.formats.container import arena

MEBIBYTE = 1 << 20
NUMEL = 1 << 26

pytestmark = pytest.mark.skipif(dcz.BACKEND != "c", reason="the NumPy backend takes what it takes")


def two_tables(dczformat: ModuleType) -> bytes:
    """Tables of the high and the low byte of an index, each with a single symbol."""
    tables: bytes = dczformat.encode_table([1] + 19 * [0]) + dczformat.encode_table([1] + 255 * [0])
    return tables


def dense(dczformat: ModuleType) -> bytes:
    payload = dczformat.varint(5000) + bytes(5000) + two_tables(dczformat)
    return bytes(dczformat.one(2, payload, [NUMEL], decoded=dczformat.digest(bytes(NUMEL))))


def sparse(dczformat: ModuleType) -> bytes:
    payload = dczformat.varint(5000) + bytes(5000) + b"\1" + dczformat.encode_table([1])
    payload += two_tables(dczformat) + b"\0\0" * (NUMEL >> 18)
    return bytes(dczformat.one(3, payload, [NUMEL], decoded=dczformat.digest(bytes(NUMEL))))


def classes(dczformat: ModuleType) -> bytes:
    """Runs of eight elements in two classes by turns; the elements themselves take no bits."""
    runs = NUMEL // 8
    segment = 8 * (1 << 12).to_bytes(2, "little") + 4 * (1 << 12) * b"\0" + 4 * (1 << 12) * b"\xff"
    payload = b"\0\1\7" + b"\2\x08" + dczformat.encode_table([1, 1]) + segment * (runs >> 18)
    payload += 2 * (b"\0\0\1" + dczformat.encode_table([1]))
    return bytes(dczformat.one(4, payload, [NUMEL], decoded=dczformat.digest(NUMEL * b"\7")))


def planes(dczformat: ModuleType) -> bytes:
    payload = b"\0" + b"\1\7" * (NUMEL >> 18)
    return bytes(dczformat.one(1, payload, [NUMEL], decoded=dczformat.digest(NUMEL * b"\7")))


MAKERS: dict[str, Callable[[ModuleType], bytes]] = {
    "dense": dense,
    "sparse": sparse,
    "classes": classes,
    "planes": planes,
}


@pytest.mark.parametrize("coder", MAKERS)
def test_reading_takes_the_declared_memory_and_little_more(
    tmp_path: Path, dczformat: ModuleType, coder: str
) -> None:
    path = tmp_path / "large.dcz"
    path.write_bytes(MAKERS[coder](dczformat))
    script = """if True:
        import resource, sys
        import dcz
        path = sys.argv[1]
        archive = dcz.open(path, jobs=1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        archive.report()
        archive.verify("t")
        archive["t"]
        dcz.load_file(path, jobs=1)
        dcz.load_file(path, jobs=2)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < path.stat().st_size + NUMEL + 48 * MEBIBYTE


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize("action", ["dcz.load_file(path)", "dcz.open(path)['t']"])
def test_more_than_there_is_memory_is_a_limit(
    tmp_path: Path, dczformat: ModuleType, action: str
) -> None:
    path = tmp_path / "huge.dcz"
    path.write_bytes(dczformat.one(2, b"\1\7\1", [1 << 39]))
    script = f"""if True:
        import resource, sys
        import dcz
        path = sys.argv[1]
        resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
        try:
            {action}
        except dcz.LimitError as error:
            assert error.file == path and "more than there is memory" in str(error)
            print("refused")
    """
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr


@pytest.mark.parametrize("size", [1 << 56, 1 << 62])
def test_memory_that_no_machine_has_is_a_limit(size: int) -> None:
    """An array of its own, and one of a piece that is cut up."""
    for empty in (arena.empty, arena.Arena().empty):
        for shape in ((size,), (size >> 4, 16)):
            with pytest.raises(dcz.LimitError, match=f"{size} bytes are more than there is memory"):
                empty(shape, np.dtype(np.uint8))
