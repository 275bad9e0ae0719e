"""`dcz bench` and the progress bar: what is told while and after work is done."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dcz
from dcz.cli import main
from dcz.formats.terminal import Progress

TENSORS = {"w": np.random.default_rng(0).normal(size=(60, 50)).astype(np.float32)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    np.savez(tmp_path / "m.npz", **TENSORS)
    dcz.save_file(TENSORS, tmp_path / "m.dcz")
    return tmp_path / "m.npz"


@pytest.mark.parametrize("name", ["m.npz", "m.dcz"])
def test_bench_times_each_job_against_copying(
    source: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(source.parent.iterdir())
    path = str(source.with_name(name))
    assert main(["bench", path, "--runs", "1", "--json"]) == 0
    figures = {row["job"]: row for row in json.loads(capsys.readouterr().out)}
    assert figures["memcpy of the tensors"]["times_memcpy"] == 1
    assert all(row["seconds"] > 0 for row in figures.values())
    assert ("dcz pack, 5 bits" in figures) == (name == "m.npz")
    assert main(["bench", path, "--runs", "1", "--jobs", "1"]) == 0
    table = capsys.readouterr().out
    assert all(job in table for job in figures)
    assert sorted(source.parent.iterdir()) == before


def test_a_progress_bar_is_for_terminals_and_long_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("packing", 100) as progress:
        progress("a", 10)
        assert progress._bar is None
        now[0] += 2
        progress("b", 40)
        assert progress._bar is not None
        progress("c", 50)
        assert progress._bar.finished
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with Progress("packing", 100) as progress:
        now[0] += 2
        progress("a", 100)
        assert progress._bar is None


def test_what_comes_from_standard_input_is_named_so(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(source) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["verify", "-"]) == 3
    assert "standard input" in capsys.readouterr().err


def test_a_large_source_is_packed_without_comparisons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "m.npy", np.zeros((1 << 21) + 1, np.uint8))
    assert main(["pack", str(tmp_path / "m.npy")]) == 0
    assert "zstd" not in capsys.readouterr().out
    assert main(["pack", str(tmp_path / "m.npy"), "--compare"]) == 0
    assert "zstd" in capsys.readouterr().out
