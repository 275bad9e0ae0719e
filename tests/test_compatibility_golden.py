"""Files packed by past releases decode to the same bits, by dcz and by FORMAT.md alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import dcz

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dcz"))
each_file = pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)


def expected(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    for tensor in content["tensors"].values():
        tensor["bytes"] = zlib.decompress(base64.b64decode(tensor["bytes"]))
    return content


@each_file
def test_dcz_decodes_to_the_recorded_bits(path: Path) -> None:
    content = expected(path)
    with dcz.open(path) as archive:
        assert archive.metadata == content["metadata"]
        assert list(archive) == list(content["tensors"])
        for name, tensor in content["tensors"].items():
            array = archive[name]
            assert (array.dtype.name, list(array.shape)) == (tensor["dtype"], tensor["shape"])
            assert array.tobytes() == tensor["bytes"], name
            assert archive.ties.get(name) == tensor["tied_to"]
            assert archive.is_exact(name) == tensor["exact"]
        assert archive.report().file_bytes == path.stat().st_size


@each_file
def test_the_format_page_suffices_to_decode(path: Path, dczformat: ModuleType) -> None:
    content = expected(path)
    data = path.read_bytes()
    tensors = dczformat.decode(data)
    assert dczformat.metadata(data) == content["metadata"]
    assert list(tensors) == list(content["tensors"])
    for name, (dtype, shape, raw) in tensors.items():
        assert (dtype, shape) == (
            content["tensors"][name]["dtype"],
            content["tensors"][name]["shape"],
        )
        assert raw == content["tensors"][name]["bytes"], name


@each_file
def test_the_builder_of_the_tests_gives_the_same_bytes(path: Path, dczformat: ModuleType) -> None:
    data = path.read_bytes()
    assert dczformat.build(dczformat.parse(data)) == data


def test_golden_files_are_small_and_use_the_whole_format(dczformat: ModuleType) -> None:
    assert len(GOLDEN) >= 10
    files = {path.stem: dczformat.parse(path.read_bytes()) for path in GOLDEN}
    for path in GOLDEN:
        assert path.stat().st_size <= (20480 if path.stem == "sparse-wide-index" else 4096)
    frames = [(f, frame, f.members(i)) for f in files.values() for i, frame in enumerate(f.frames)]
    tensors = [t for f in files.values() for t in f.tensors]
    assert {frame.coder for _, frame, _ in frames} == {0, 1, 2, 3, 4, 6, 7}
    assert any(len(members) > 1 for _, _, members in frames)
    assert {t.kind for t in tensors} == {0, 1, 2, 3}
    assert {t.dtype for t in tensors if t.kind < 2} == set(range(1, 21))
    assert any(not f.tensors for f in files.values())
    grouped = {(frame.coder, len(members) > 1) for _, frame, members in frames}
    assert grouped >= {(1, True), (2, False), (3, False)}
    assert any(0 in [t.numel for t in members] for _, _, members in frames if len(members) > 1)


def test_a_present_golden_file_is_never_made_again() -> None:
    make = Path(__file__).parent / "golden" / "make.py"
    before = [path.read_bytes() for path in GOLDEN]
    done = subprocess.run([sys.executable, make], capture_output=True, text=True)
    assert done.returncode != 0
    assert "never made again" in done.stderr
    assert [path.read_bytes() for path in GOLDEN] == before
