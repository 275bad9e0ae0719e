"""`dcz pack`: options, recipes, what it prints, and which files it may replace."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import dcz
from dcz.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    draw = np.random.default_rng(0).standard_normal
    tensors: dict[str, np.ndarray] = {
        "encoder.weight": draw((64, 48)).astype(np.float32),
        "decoder.weight": draw((32, 48)).astype(np.float32),
        "norm.bias": draw(48).astype(np.float32),
        "steps": np.array(7, np.int64),
        "mask": np.array([True, False, True]),
    }
    save_file(tensors, path, metadata={"author": "someone"})
    return path


def run(*arguments: object) -> int:
    """Run the command line in this process."""
    return main([str(argument) for argument in arguments])


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


def parse(text: str) -> dict[str, Any]:
    """Parse JSON as other languages do: no NaN, no Infinity."""
    table = json.loads(text, parse_constant=_refuse)
    assert isinstance(table, dict)
    return table


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


REPORT_KEYS = {"source_bytes", "file_bytes", "ratio", "relative_error", "stages", "tensors"}
TENSOR_KEYS = {
    *("name", "shape", "dtype", "numel", "nonzero", "levels", "coder"),
    *("bits", "bound_bits", "relative_error", "streams"),
}
STREAM_KEYS = {
    *("stream", "symbols", "alphabet", "fixed_bits", "entropy_bits", "coded_bits", "kl_bits"),
}


def test_pack_without_options(source: Path, capsys: Capture) -> None:
    assert run("pack", source) == 0
    captured = capsys.readouterr()
    packed = source.with_suffix(".dcz")
    assert set(source.parent.iterdir()) == {source, packed}
    assert captured.err == ""
    assert f"{packed.stat().st_size:,} bytes" in captured.out
    for further in ("--bits", "--sparsity", "--max-error"):
        assert further in captured.out
    with dcz.open(packed) as archive:
        assert archive.metadata == {"author": "someone"}
        assert 0 < archive.report().relative_error <= 2e-3


def test_json_has_every_promised_key(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--json", "--sparsity", "0.8", "--bits", "3") == 0
    table = parse(capsys.readouterr().out)
    assert table.keys() >= REPORT_KEYS
    assert table["file_bytes"] == source.with_suffix(".dcz").stat().st_size
    assert table["ratio"] == pytest.approx(table["source_bytes"] / table["file_bytes"])
    assert [s["stage"] for s in table["stages"]] == ["prune", "share", "huffman", "container"]
    assert all(s.keys() >= {"stage", "bytes", "ratio", "bound_bytes"} for s in table["stages"])
    assert all(t.keys() >= TENSOR_KEYS for t in table["tensors"])
    streams = [s for t in table["tensors"] for s in t["streams"]]
    assert {"index", "gap"} <= {s["stream"] for s in streams}
    assert all(s.keys() >= STREAM_KEYS for s in streams)
    assert sum(table["parts"].values()) == table["file_bytes"]
    assert [t["name"] for t in table["tensors"]] == list(dcz.load_file(source.with_suffix(".dcz")))


def test_json_of_pack_is_that_of_report(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--json") == 0
    packed = parse(capsys.readouterr().out)
    assert run("report", source.with_suffix(".dcz"), "--json") == 0
    reported = parse(capsys.readouterr().out)
    for key in REPORT_KEYS:
        assert packed[key] == reported[key]


def test_reported_error_is_the_one_numpy_computes(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--json", "--bits", "4") == 0
    table = parse(capsys.readouterr().out)
    before, after = load_file(source), dcz.load_file(source.with_suffix(".dcz"))
    matrices = [n for n, a in before.items() if a.ndim > 1 and a.dtype.kind == "f"]
    lost = sum(float(((before[n].astype(float) - after[n]) ** 2).sum()) for n in matrices)
    energy = sum(float((before[n].astype(float) ** 2).sum()) for n in matrices)
    assert table["relative_error"] == pytest.approx(lost / energy, rel=1e-5)
    for name in ("norm.bias", "steps", "mask"):
        assert np.array_equal(before[name], after[name])


def levels(path: Path) -> dict[str, int]:
    with dcz.open(path) as archive:
        return {t.name: t.levels for t in archive.report().tensors}


@pytest.mark.parametrize("options", [("--bits", "3"), ("--levels", "8")])
def test_bits_and_levels(options: tuple[str, ...], source: Path) -> None:
    assert run("pack", source, *options) == 0
    found = levels(source.with_suffix(".dcz"))
    assert found["encoder.weight"] == found["decoder.weight"] == 8
    assert found["norm.bias"] == 0


def test_sparsity_prunes_that_share(source: Path) -> None:
    assert run("pack", source, "--sparsity", "0.75", "--bits", "4") == 0
    after = dcz.load_file(source.with_suffix(".dcz"))
    matrices = [after["encoder.weight"], after["decoder.weight"]]
    zeros = sum(int((a == 0).sum()) for a in matrices)
    assert zeros == pytest.approx(0.75 * sum(a.size for a in matrices), abs=1)


def test_scope_tensor_prunes_each_alike(source: Path) -> None:
    assert run("pack", source, "--sparsity", "0.5", "--scope", "tensor", "--bits", "4") == 0
    after = dcz.load_file(source.with_suffix(".dcz"))
    for name in ("encoder.weight", "decoder.weight"):
        assert (after[name] == 0).sum() == pytest.approx(after[name].size / 2, abs=1)


def test_threshold_prunes_what_is_smaller(source: Path) -> None:
    assert run("pack", source, "--threshold", "0.5") == 0
    before, after = load_file(source), dcz.load_file(source.with_suffix(".dcz"))
    for name in ("encoder.weight", "decoder.weight"):
        assert np.array_equal(after[name] == 0, abs(before[name]) < 0.5)


def test_lossless_changes_nothing(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--quantizer", "lossless", "--json") == 0
    assert parse(capsys.readouterr().out)["relative_error"] == 0
    before, after = load_file(source), dcz.load_file(source.with_suffix(".dcz"))
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


@pytest.mark.parametrize("bound", [0.0, 1e-12, 1e-5, 1e-2, 0.3])
def test_max_error_is_a_bound(bound: float, source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--max-error", bound, "--json") == 0
    table = parse(capsys.readouterr().out)
    assert table["counted_error"] <= bound
    assert run("pack", source, "--max-error", bound, "--error-of", "model", "--json") == 0
    table = parse(capsys.readouterr().out)
    assert table["relative_error"] == pytest.approx(table["counted_error"], rel=1e-9)
    assert table["relative_error"] <= bound * (1 + 1e-9)


@pytest.mark.parametrize("bound", [0.0, 1e-12])
def test_max_error_is_a_bound_for_more_values_than_levels(
    bound: float, tmp_path: Path, capsys: Capture
) -> None:
    source = tmp_path / "large.npz"
    values = np.random.default_rng(0).standard_normal((400, 300)).astype(np.float32)
    np.savez(source, weight=values)
    assert run("pack", source, "--max-error", bound, "--json") == 0
    assert parse(capsys.readouterr().out)["relative_error"] <= bound
    assert run("verify", source.with_suffix(".dcz"), "--against", source) == 0


@pytest.mark.parametrize("initialisation", ["best", "optimal", "linear", "density", "random"])
def test_initialisations(initialisation: str, source: Path) -> None:
    assert run("pack", source, "--bits", "4", "--initialisation", initialisation) == 0
    assert levels(source.with_suffix(".dcz"))["encoder.weight"] <= 16


def test_the_file_does_not_depend_on_jobs(source: Path) -> None:
    packed = source.with_suffix(".dcz")
    digests = set()
    for jobs in (1, 2, 7):
        assert run("pack", source, "--jobs", jobs) == 0
        digests.add(digest(packed))
    assert len(digests) == 1


def test_compare_measures_the_source(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--compare", "--json") == 0
    alternatives = parse(capsys.readouterr().out)["alternatives"]
    assert any("zstd -19" in name for name in alternatives)
    assert any("zstd -3" in name for name in alternatives)
    assert all(size > 0 for size in alternatives.values())


def write_recipe(source: Path, text: str) -> Path:
    path = source.with_name("recipe.toml")
    path.write_text(text, encoding="utf-8")
    return path


def test_recipe_by_pattern(source: Path) -> None:
    text = 'bits = 5\n[[tensor]]\npattern = "encoder.*"\nbits = 3\n'
    assert run("pack", source, "--recipe", write_recipe(source, text)) == 0
    found = levels(source.with_suffix(".dcz"))
    assert found["encoder.weight"] == 8
    assert found["decoder.weight"] == 32


def test_options_override_the_recipe(source: Path) -> None:
    recipe = write_recipe(source, "levels = 5\nthreshold = 0.1\n")
    assert run("pack", source, "--recipe", recipe, "--bits", "2", "--sparsity", "0.5") == 0
    assert levels(source.with_suffix(".dcz"))["encoder.weight"] <= 4


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("bits = ", "TOML"),
        ("bitz = 5", "bitz"),
        ('bits = "5"', "bits"),
        ("bits = 5.0", "bits"),
        ("bits = true", "bits"),
        ("bits = 17", "bits"),
        ("bits = nan", "bits"),
        ('sparsity = "much"', "sparsity"),
        ("sparsity = 1.0", "sparsity"),
        ("quantizer = 3", "quantizer"),
        ('quantizer = ["kmeans"]', "quantizer"),
        ("scope = []", "scope"),
        ("max_error = 'small'", "max_error"),
        ("bits = 5\nlevels = 3", "levels"),
        ("[other]\nx = 1", "other"),
        ("rules = []", "rules"),
        ("tensor = 3", "[[tensor]]"),
        ('[tensor]\npattern = "*"', "[[tensor]]"),
        ("[[tensor]]\nbits = 5", "pattern"),
        ("[[tensor]]\npattern = 3\nbits = 5", "pattern"),
        ('[[tensor]]\npattern = ["a", "b"]\nbits = 5', "pattern"),
        ('[[tensor]]\npattern = "encoder.*"\nbits = 99', "bits"),
        ('[[tensor]]\npattern = "encoder.*"\nmax_error = 0.1', "max_error"),
        ('[[tensor]]\npattern = "encoder.*"\nbits = 5\nlevels = 9', "levels"),
        ('[[tensor]]\npattern = "no-such.*"\nbits = 5', "no-such.*"),
    ],
)
def test_bad_recipes_name_file_and_cause(
    text: str, named: str, source: Path, capsys: Capture
) -> None:
    recipe = write_recipe(source, text)
    assert run("pack", source, "--recipe", recipe) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(recipe) in captured.err
    assert named in captured.err
    assert set(source.parent.iterdir()) == {source, recipe}


def test_recipe_that_is_no_text(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--recipe", source) == 2
    assert str(source) in capsys.readouterr().err


def test_recipe_that_is_not_there(source: Path, capsys: Capture) -> None:
    missing = source.with_name("missing.toml")
    assert run("pack", source, "--recipe", missing) == 4
    assert str(missing) in capsys.readouterr().err


def test_a_dcz_file_is_replaced_without_asking(source: Path) -> None:
    packed = source.with_suffix(".dcz")
    assert run("pack", source, "--bits", "2") == 0
    first = digest(packed)
    assert run("pack", source, "--bits", "6") == 0
    assert digest(packed) != first


def test_an_empty_file_is_replaced(source: Path) -> None:
    dest = source.with_name("new.dcz")
    dest.touch()
    assert run("pack", source, "-o", dest) == 0
    assert dcz.load_file(dest)


def test_another_file_is_kept(source: Path, capsys: Capture) -> None:
    dest = source.with_name("notes.txt")
    dest.write_text("do not lose this")
    assert run("pack", source, "-o", dest) == 2
    err = capsys.readouterr().err
    assert str(dest) in err
    assert "--force" in err
    assert dest.read_text() == "do not lose this"
    assert run("pack", source, "-o", dest, "--force") == 0
    assert dcz.load_file(dest)


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("how", ["same", "link", "dots"])
def test_the_source_is_never_replaced(
    how: str, force: tuple[str, ...], source: Path, capsys: Capture
) -> None:
    dest = {
        "same": source,
        "link": source.with_name("link.dcz"),
        "dots": source.parent / "." / ".." / source.parent.name / source.name,
    }[how]
    if how == "link":
        dest.symlink_to(source)
    before = digest(source)
    assert run("pack", source, "-o", dest, *force) == 2
    assert str(dest) in capsys.readouterr().err
    assert digest(source) == before


@pytest.mark.parametrize("dest", [None, "same"])
def test_a_dcz_file_is_not_repacked_onto_itself(dest: str | None, source: Path) -> None:
    packed = source.with_suffix(".dcz")
    assert run("pack", source) == 0
    before = digest(packed)
    assert run("pack", packed, "--bits", "2", *(["-o", packed] if dest else [])) == 2
    assert digest(packed) == before


def test_output_directory_that_is_not_there(source: Path, capsys: Capture) -> None:
    dest = source.parent / "no" / "model.dcz"
    assert run("pack", source, "-o", dest) == 4
    err = capsys.readouterr().err
    assert str(dest) in err
    assert ".tmp" not in err


def test_output_that_is_a_directory(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "-o", source.parent) == 4
    assert str(source.parent) in capsys.readouterr().err
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_names_the_file(source: Path, capsys: Capture) -> None:
    assert run("pack", source, "-o", "/dev/full") == 4
    err = capsys.readouterr().err
    assert "/dev/full" in err
    assert "No space left" in err


@pytest.mark.parametrize(
    "name", ["model.safetensors", "v1.2", "plain", "archive.tar.safetensors", "x.npz"]
)
def test_default_name_keeps_to_the_sources(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, weight=np.eye(4, dtype=np.float32))
    else:
        save_file({"weight": np.eye(4, dtype=np.float32)}, path)
    assert run("pack", path) == 0
    (made,) = set(tmp_path.iterdir()) - {path}
    assert made.suffix == ".dcz"
    assert name.startswith(made.stem)


def test_default_name_of_a_sharded_checkpoint(tmp_path: Path) -> None:
    save_file({"weight": np.eye(4, dtype=np.float32)}, tmp_path / "shard.safetensors")
    index = {"weight_map": {"weight": "shard.safetensors"}}
    path = tmp_path / "m.safetensors.index.json"
    path.write_text(json.dumps(index))
    assert run("pack", path) == 0
    assert list(dcz.load_file(tmp_path / "m.dcz")) == ["weight"]


@pytest.mark.parametrize(
    ("options", "aim"),
    [
        (("--max-error", "0.01"), "a relative squared error of the layers of at most 0.01"),
        (("--target-size", "9000"), "a file of at most 9,000 bytes"),
        (("--target-ratio", "3"), "a ratio of at least 3"),
    ],
)
def test_what_was_aimed_at_is_told(
    options: tuple[str, ...], aim: str, source: Path, capsys: Capture
) -> None:
    assert run("pack", source, "--preset", "balanced", *options) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "All tensors were cut at one slope" in shown
    assert f"for {aim}." in shown


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"empty": np.zeros((0, 5), np.float32)},
        {"scalar": np.array(3, np.float32)},
        {"zeros": np.zeros((9, 9), np.float32)},
        {"bad": np.full((9, 9), np.nan, np.float32), "inf": np.full((9, 9), np.inf, np.float32)},
        {"flags": np.zeros(5, np.bool_)},
    ],
    ids=lambda tensors: "+".join(tensors) or "nothing",
)
def test_odd_checkpoints_go_through_every_command(
    tensors: dict[str, np.ndarray], tmp_path: Path, capsys: Capture
) -> None:
    source, packed = tmp_path / "odd.safetensors", tmp_path / "odd.dcz"
    save_file(tensors, source)
    assert run("pack", source) == 0
    for command in ("report", "inspect", "verify"):
        assert run(command, packed) == 0
        capsys.readouterr()
        assert run(command, packed, "--json") == 0
        parse(capsys.readouterr().out)
    assert run("verify", packed, "--against", source, "--json") == 0
    parse(capsys.readouterr().out)
    assert run("unpack", packed, "-o", tmp_path / "back.safetensors") == 0
    assert run("diff", tmp_path / "back.safetensors", source) == 0


def test_notes_are_kept_and_shown(source: Path, capsys: Capture) -> None:
    notes = ("--note", "test_error=0.0153", "--note", "author=another", "--note", "why=a=b")
    assert run("pack", source, *notes, "--json") == 0
    packed = source.with_suffix(".dcz")
    expected = {"author": "another", "test_error": "0.0153", "why": "a=b"}
    assert parse(capsys.readouterr().out)["metadata"] == expected
    assert run("report", packed, "--json") == 0
    assert parse(capsys.readouterr().out)["metadata"] == expected
    assert run("report", packed) == 0
    assert "0.0153" in capsys.readouterr().out
    tensors = {"w": np.zeros((3, 3), np.float32)}
    assert (
        dcz.save_file(tensors, packed, notes={"test_error": "0.1"}).metadata["test_error"] == "0.1"
    )


@pytest.mark.parametrize("note", ["test_error", "=0.0153"])
def test_notes_that_are_none(note: str, source: Path, capsys: Capture) -> None:
    assert run("pack", source, "--note", note) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
