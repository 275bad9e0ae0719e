"""Branches of the format's modules that other tests pass by."""

from __future__ import annotations

import io
import mmap
from pathlib import Path

import numpy as np
import pytest

import dcz
from dcz.formats.checkpoints.numpy_files.npz import MappingCheckpoint
from dcz.formats.console import tables
from dcz.formats.container.arena import Arena
from dcz.formats.report import alternatives, compare

TENSORS = {"w": np.arange(300.0).reshape(20, 15), "none": np.zeros((0, 3))}


def test_an_arena_without_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    arena = Arena()
    arrays = [arena.empty((40 + i,), np.dtype(np.float32)) for i in range(3)]
    for number, array in enumerate(arrays):
        array[:] = number
    assert [set(array.tolist()) for array in arrays] == [{0.0}, {1.0}, {2.0}]
    assert arena.empty((1 << 25,), np.dtype(np.uint16)).nbytes == 1 << 26


def test_a_comparison_needs_no_progress() -> None:
    checkpoint = MappingCheckpoint(TENSORS)
    differences = compare.compare(checkpoint, checkpoint)
    assert [difference.status for difference in differences] == ["equal", "equal"]


def test_a_source_is_measured_without_progress(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **TENSORS)
    assert 0 < alternatives.compress_source(tmp_path / "m.npz", None) < 5000


def test_a_table_of_a_tensor_without_elements(tmp_path: Path) -> None:
    report = dcz.save_file({"none": np.zeros((0, 3), np.float32)}, tmp_path / "m.dcz")
    stream = io.StringIO()
    tables.show(tables.report_view(report), stream)
    assert "none" in stream.getvalue()


def test_a_console_leaves_a_closed_pipe_to_its_caller() -> None:
    with pytest.raises(BrokenPipeError):
        tables._Console().on_broken_pipe()
