"""A sweep's points are what packing gives, and `dcz report --sweep` shows and draws them."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from safetensors.numpy import save_file

import dcz
from dcz.cli import main
from dcz.codec.rate.recipe import PRESETS
from dcz.formats.studies.sweep import ERRORS, SweepPoint, sweep

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def quick_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without C the preset `max` would take minutes."""
    if dcz.BACKEND != "c":
        monkeypatch.delitem(PRESETS, "max")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    draw = np.random.default_rng(0)
    tensors: dict[str, np.ndarray[Any, Any]] = {
        "first.weight": draw.laplace(size=(200, 90)).astype(np.float32),
        "second.weight": 0.1 * draw.normal(size=(70, 80)).astype(np.float32),
        "second.bias": draw.normal(size=70).astype(np.float32),
    }
    save_file(tensors, path)
    return path


def run(*arguments: object) -> int:
    """Run the command line in this process, argparse's exits included."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


def _recipe(point: SweepPoint) -> dcz.Recipe:
    return dcz.Recipe(preset=point.preset, max_error=point.max_error, error_of="model")


def test_points_are_what_packing_gives(source: Path, tmp_path: Path) -> None:
    errors = (1e-2, 1e-3)
    found = sweep(source, errors=errors)
    assert found.presets == tuple(PRESETS)
    for preset in PRESETS:
        assert [p.max_error for p in found.curve(preset)] == sorted(errors)
    for point in found.points:
        dest = tmp_path / "point.dcz"
        report = dcz.pack(source, dest, _recipe(point))
        shared = [t for t in report.tensors if t.relative_error]
        assert point.file_bytes == dest.stat().st_size
        assert point.relative_error == report.relative_error <= point.max_error
        assert point.weights == 200 * 90 + 70 * 80
        assert point.weight_bits == pytest.approx(sum(t.bits for t in shared) / point.weights)
        # At will between the tensors is at most what each needs at the error it got.
        apart = sum(t.gaussian_bits or 0 for t in shared) / point.weights
        assert point.gaussian_bits <= apart * (1 + 1e-9)
        assert point.gaussian_bits == pytest.approx(apart, rel=0.1)
    assert found.source_bytes == 4 * (200 * 90 + 70 * 80 + 70)


def test_an_unknown_preset_is_refused(source: Path) -> None:
    with pytest.raises(dcz.RecipeError, match="nonsense"):
        sweep(source, presets=["nonsense"])


def test_json_holds_every_point(source: Path, capsys: Capture) -> None:
    assert run("report", "--sweep", source, "--json") == 0
    table = json.loads(capsys.readouterr().out)
    assert table["source"] == str(source)
    assert len(table["points"]) == len(PRESETS) * len(ERRORS)
    for preset in PRESETS:
        points = [p for p in table["points"] if p["preset"] == preset]
        assert [p["max_error"] for p in points] == list(ERRORS)
        for finer, coarser in pairwise(points):
            assert finer["relative_error"] < coarser["relative_error"]
            for key in ("file_bytes", "ratio", "weight_bits", "gaussian_bits", "laplacian_bits"):
                assert (finer[key] < coarser[key]) == (key == "ratio")
        assert all(p["laplacian_bits"] < p["gaussian_bits"] for p in points)


def test_a_sweep_leaves_nothing_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    before = hashlib.sha256(source.read_bytes()).digest()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert run("report", source, "--sweep") == 0
    out = capsys.readouterr().out
    assert all(preset in out for preset in PRESETS)
    assert "Laplace" in out
    assert list(temporary.iterdir()) == []
    assert sorted(source.parent.iterdir()) == [source, temporary]
    assert hashlib.sha256(source.read_bytes()).digest() == before


@pytest.mark.parametrize("ending", [".svg", ".png"])
def test_a_picture_is_drawn_the_same_each_time(source: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    first, second = source.with_name("a" + ending), source.with_name("b" + ending)
    for path in (first, second, first):
        assert run("report", "--sweep", source, "-o", path) == 0
    content = first.read_bytes()
    assert content == second.read_bytes()
    if ending == ".png":
        assert content[:4] == b"\x89PNG"
        assert content.rstrip(b"\0")[-8:-4] == b"IEND"
        return
    drawn = {element.get("id", "") for element in ElementTree.fromstring(content).iter()}
    # A line for each preset and for both bounds, besides those of the axes.
    assert sum(name.startswith("line2d") for name in drawn) >= len(PRESETS) + 2


def test_odd_names_and_nothing_to_share_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "a$b_{$\\frac.safetensors"
    save_file({"steps": np.arange(6).reshape(2, 3)}, path)
    assert run("report", "--sweep", path, "-o", tmp_path / "x.svg") == 0
    assert (tmp_path / "x.svg").stat().st_size > 1000


def test_without_matplotlib_it_says_what_to_install(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("report", "--sweep", source, "-o", source.with_suffix(".svg")) == 3
    assert "dcz[plot]" in capsys.readouterr().err
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sweep", "-o", "x.pdf"),
        ("--sweep", "-o", "x"),
        ("--sweep", "--html", "x.html"),
        ("--sweep", "--against", "x.pt"),
        ("-o", "x.svg"),
    ],
)
def test_options_that_do_not_go_together(
    source: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(source.parent)
    assert run("report", source, *arguments) == 2
    assert capsys.readouterr().out == ""
    assert list(source.parent.iterdir()) == [source]


def test_only_pictures_are_replaced(source: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    precious = source.with_name("x.svg")
    precious.write_text("not a picture")
    assert run("report", "--sweep", source, "-o", precious) == 2
    assert precious.read_text() == "not a picture"
    assert "picture" in capsys.readouterr().err
