"""`dcz pack --preset` and the aims: what they print, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import dcz
from dcz.cli import main
from dcz.codec.rate.recipe import PRESETS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    draw = np.random.default_rng(0)
    tensors = {
        "encoder.weight": draw.laplace(size=(128, 96)).astype(np.float32),
        "decoder.weight": draw.normal(size=(64, 200)).astype(np.float32),
        "norm.bias": draw.normal(size=48).astype(np.float32),
    }
    save_file(tensors, path)
    return path


def run(*arguments: object) -> int:
    """Run the command line in this process."""
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_meets_the_error_and_unpacks(preset: str, source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--preset", preset, "--max-error", "1e-2", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert 0.9e-2 < report["relative_error"] <= 1e-2
    assert report["slope"] > 0
    packed = source.with_suffix(".dcz")
    assert run("verify", packed, "--against", source) == 0
    assert run("report", packed, "--json") == 0


def test_the_balanced_preset_is_smaller_at_equal_error(source: Path, capsys: Capture) -> None:
    sizes = {}
    for preset in ("paper", "balanced"):
        assert run("pack", source, "--preset", preset, "--max-error", "1e-2", "--json") == 0
        sizes[preset] = json.loads(capsys.readouterr().out)["file_bytes"]
    assert sizes["balanced"] < sizes["paper"]


def test_the_output_tells_aim_and_slope(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--preset", "balanced", "--target-size", "20000") == 0
    out = capsys.readouterr().out
    assert "at one slope" in out
    assert "a file of at most 20,000 bytes" in out
    assert 19_800 <= source.with_suffix(".dcz").stat().st_size <= 20_000
    assert run("pack", source, "--target-ratio", "6") == 0
    assert "a ratio of at least 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("--preset", "tiny"), "preset: 'tiny' is none of paper, balanced"),
        (("--preset", "balanced", "--bits", "5"), "leave out bits"),
        (("--quantizer", "grid", "--initialisation", "linear"), "leave out initialisation"),
        (("--max-error", "0.1", "--target-size", "9999"), "exclude each other"),
        (("--target-ratio", "5", "--target-size", "9999"), "exclude each other"),
        (("--target-size", "9999", "--bits", "5"), "leave out bits and levels"),
        (("--target-ratio", "0.5"), "target_ratio: 0.5 is outside 1"),
        (("--target-size", "0"), "target_size: 0 is outside 1"),
        (("--target-size", "90"), "90 bytes is out of reach"),
        (("--coder", "fast"), "coder: 'fast'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: tuple[str, ...], cause: str, source: Path, capsys: Capture
) -> None:
    assert run("pack", source, *options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert cause in captured.err
    assert not source.with_suffix(".dcz").exists()


def test_a_recipe_file_names_preset_aim_and_importance(source: Path, capsys: Capture) -> None:
    recipe = source.with_name("recipe.toml")
    recipe.write_text(
        'preset = "balanced"\ntarget_ratio = 8\n'
        '[[tensor]]\npattern = "encoder.*"\nimportance = 100\n'
        '[[tensor]]\npattern = "decoder.*"\nquantizer = "kmeans"\n'
    )
    assert run("pack", source, "--recipe", recipe, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    # Whole numbers of levels for k-means leave steps in a model this small.
    assert 8 <= report["ratio"] <= 8.4
    errors = {tensor["name"]: tensor["relative_error"] for tensor in report["tensors"]}
    assert errors["encoder.weight"] < errors["decoder.weight"] / 10
    # What the command line says takes the place of the file's aim.
    assert run("pack", source, "--recipe", recipe, "--max-error", "1e-3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["relative_error"] <= 1e-3


def test_pairs_may_code_what_k_means_shares(source: Path, tmp_path: Path) -> None:
    sizes = {}
    for coder in ("huffman", "auto"):
        recipe = dcz.Recipe(levels=6, coder=coder)
        sizes[coder] = dcz.pack(source, tmp_path / "x.dcz", recipe).file_bytes
    assert sizes["auto"] < sizes["huffman"]
