"""`inspect`, `report`, `verify` and `diff`: what they say, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
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


@pytest.fixture
def packed(source: Path) -> Path:
    path = source.with_suffix(".dcz")
    dcz.pack(source, path)
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


def test_inspect_lists_every_tensor(source: Path, packed: Path, capsys: Capture) -> None:
    for path in (source, packed):
        assert run("inspect", path) == 0
        out = capsys.readouterr().out
        for part in ("encoder.weight", "64x48", "float32", "12,288", "scalar", "bool", "someone"):
            assert part in out


def test_inspect_json(source: Path, packed: Path, capsys: Capture) -> None:
    for path, kind in ((source, "safetensors"), (packed, "dcz")):
        assert run("inspect", path, "--json") == 0
        table = parse(capsys.readouterr().out)
        assert table["file"] == str(path)
        assert table["format"] == kind
        assert table["file_bytes"] == path.stat().st_size
        assert table["metadata"] == {"author": "someone"}
        shapes = {t["name"]: (t["shape"], t["dtype"]) for t in table["tensors"]}
        expected = {n: (list(a.shape), a.dtype.name) for n, a in load_file(source).items()}
        assert shapes == expected


def test_inspect_reads_headers_only(packed: Path) -> None:
    content = bytearray(packed.read_bytes())
    content[60] ^= 1
    packed.write_bytes(content)
    assert run("inspect", packed) == 0
    assert run("verify", packed) == 3


def test_inspect_other_formats(source: Path, capsys: Capture) -> None:
    npz = source.with_suffix(".npz")
    np.savez(npz, weight=np.eye(3))
    assert run("inspect", npz, "--json") == 0
    assert parse(capsys.readouterr().out)["format"] == "npz"


def test_report_shows_stages_parts_and_streams(packed: Path, capsys: Capture) -> None:
    assert run("report", packed) == 0
    out = capsys.readouterr().out
    for part in ("prune", "share", "huffman", "container", "codebooks", "checksums", "entropy"):
        assert part in out
    assert f"{packed.stat().st_size:,}" in out
    assert "zstd -3" in out
    assert "\x1b" not in out


def test_report_json_accounts_for_every_bit(packed: Path, capsys: Capture) -> None:
    assert run("report", packed, "--json") == 0
    table = parse(capsys.readouterr().out)
    assert table["file_bytes"] == packed.stat().st_size == sum(table["parts"].values())
    frames = next(s["bytes"] for s in table["stages"] if s["stage"] == "huffman")
    assert sum(t["bits"] for t in table["tensors"]) == 8 * frames
    for tensor in table["tensors"]:
        for stream in tensor["streams"]:
            assert stream["kl_bits"] >= 0
            assert stream["entropy_bits"] <= stream["coded_bits"]


def test_report_leaves_out_streams_without_symbols(
    tmp_path: Path, capsys: Capture, dczformat: ModuleType
) -> None:
    path = tmp_path / "empty.dcz"
    path.write_bytes(dczformat.one(2, b"\0\1", [0], decoded=dczformat.digest(b"")))
    assert run("report", path, "--json") == 0
    assert [s["symbols"] for s in parse(capsys.readouterr().out)["tensors"][0]["streams"]] == [0]
    assert run("report", path) == 0
    shown = capsys.readouterr().out
    assert "index" not in shown.partition("streams, in bits a symbol")[2]
    assert "nan" not in shown


def test_report_against_measures_the_source(source: Path, packed: Path, capsys: Capture) -> None:
    assert run("report", packed, "--against", source, "--json") == 0
    alternatives = parse(capsys.readouterr().out)["alternatives"]
    assert any("zstd -19" in name for name in alternatives)


def test_report_as_a_page(packed: Path, capsys: Capture) -> None:
    page = packed.with_name("report.html")
    assert run("report", packed, "--html", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "<html" in text
    assert "encoder.weight" in text
    assert "<script" not in text


def test_page_shows_names_as_text(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>[red]x[/red]&amp;"
    packed, page = tmp_path / "model.dcz", tmp_path / "report.html"
    dcz.save_file({name: np.eye(8, dtype=np.float32)}, packed)
    assert run("report", packed, "--html", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&amp;amp;" in text
    assert "[red]" in text


@pytest.mark.parametrize("victim", ["model.dcz", "model.safetensors"])
def test_page_does_not_replace_a_model(victim: str, source: Path, packed: Path) -> None:
    path = source.with_name(victim)
    before = path.read_bytes()
    assert run("report", packed, "--html", path) == 2
    assert path.read_bytes() == before


def test_page_replaces_a_page(packed: Path) -> None:
    page = packed.with_name("report.html")
    assert run("report", packed, "--html", page) == 0
    assert run("report", packed, "--html", page) == 0


def test_verify_says_what_it_checked(packed: Path, capsys: Capture) -> None:
    assert run("verify", packed) == 0
    out = capsys.readouterr().out
    assert str(packed) in out
    assert "5 tensors" in out


def test_verify_json(packed: Path, capsys: Capture) -> None:
    assert run("verify", packed, "--json") == 0
    table = parse(capsys.readouterr().out)
    assert table["ok"] is True
    assert table["file"] == str(packed)


def test_verify_finds_every_damaged_byte(packed: Path, capsys: Capture) -> None:
    content = packed.read_bytes()
    for position in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        packed.write_bytes(damaged)
        assert run("verify", packed) == 3, position
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"dcz: {packed}: ")


def test_verify_against_its_source(source: Path, packed: Path, capsys: Capture) -> None:
    assert run("verify", packed, "--against", source, "--json") == 0
    table = parse(capsys.readouterr().out)
    assert table["ok"] is True
    assert table["wrong"] == []
    assert table["file_bytes"] == packed.stat().st_size
    before, after = load_file(source), dcz.load_file(packed)
    for tensor in table["tensors"]:
        a, b = before[tensor["name"]].astype(float), after[tensor["name"]].astype(float)
        expected = ((a - b) ** 2).sum() / (a**2).sum()
        assert tensor["relative_error"] == pytest.approx(expected, rel=1e-9)


def _changed_exactly(tensors: dict[str, np.ndarray]) -> str:
    tensors["norm.bias"][3] = np.nextafter(tensors["norm.bias"][3], np.float32(9))
    return "norm.bias"


def _changed_flag(tensors: dict[str, np.ndarray]) -> str:
    tensors["mask"][0] = False
    return "mask"


def _changed_count(tensors: dict[str, np.ndarray]) -> str:
    tensors["steps"] = np.array(8, np.int64)
    return "steps"


def _missing(tensors: dict[str, np.ndarray]) -> str:
    tensors["extra.weight"] = np.eye(3, dtype=np.float32)
    return "extra.weight"


def _added(tensors: dict[str, np.ndarray]) -> str:
    del tensors["norm.bias"]
    return "norm.bias"


def _further_off(tensors: dict[str, np.ndarray]) -> str:
    tensors["encoder.weight"] *= 1.02
    return "encoder.weight"


def _one_weight_off(tensors: dict[str, np.ndarray]) -> str:
    tensors["encoder.weight"][5, 5] += 1
    return "encoder.weight"


def _poisoned(tensors: dict[str, np.ndarray]) -> str:
    tensors["encoder.weight"][0, 0] = np.nan
    return "encoder.weight"


def _reshaped(tensors: dict[str, np.ndarray]) -> str:
    tensors["encoder.weight"] = tensors["encoder.weight"].reshape(48, 64)
    return "encoder.weight"


def _other_type(tensors: dict[str, np.ndarray]) -> str:
    tensors["encoder.weight"] = tensors["encoder.weight"].astype(np.float16)
    return "encoder.weight"


@pytest.mark.parametrize(
    "change",
    [
        *(_changed_exactly, _changed_flag, _changed_count, _missing, _added),
        *(_further_off, _one_weight_off, _poisoned, _reshaped, _other_type),
    ],
)
@pytest.mark.filterwarnings("error")
def test_verify_against_another_source(
    change: Any, source: Path, packed: Path, capsys: Capture
) -> None:
    tensors = load_file(source)
    name = change(tensors)
    other = source.with_name("other.safetensors")
    save_file(tensors, other)
    assert run("verify", packed, "--against", other) == 1
    assert name in capsys.readouterr().out
    assert run("verify", packed, "--against", other, "--json") == 1
    table = parse(capsys.readouterr().out)
    assert table["ok"] is False
    assert table["wrong"] == [name]


def test_verify_against_a_pruned_source(source: Path, capsys: Capture) -> None:
    packed = source.with_name("sparse.dcz")
    assert run("pack", source, "-o", packed, "--sparsity", "0.9", "--bits", "3") == 0
    assert run("verify", packed, "--against", source) == 0


def test_verify_against_a_missing_file(packed: Path, capsys: Capture) -> None:
    missing = packed.with_name("missing.safetensors")
    assert run("verify", packed, "--against", missing) == 4
    assert str(missing) in capsys.readouterr().err


def test_diff_of_equal_files(source: Path, packed: Path, capsys: Capture) -> None:
    back = source.with_name("back.npz")
    dcz.unpack(packed, back)
    assert run("diff", packed, back) == 0
    assert "5 tensors" in capsys.readouterr().out
    assert run("diff", packed, back, "--json") == 0
    table = parse(capsys.readouterr().out)
    assert table["equal"] is True
    assert table["relative_error"] == 0
    assert {t["status"] for t in table["tensors"]} == {"equal"}


def test_diff_names_what_differs(source: Path, packed: Path, capsys: Capture) -> None:
    assert run("diff", source, packed) == 1
    out = capsys.readouterr().out
    assert "encoder.weight" in out
    assert "norm.bias" not in out
    assert run("diff", source, packed, "--json") == 1
    table = parse(capsys.readouterr().out)
    assert table["equal"] is False
    assert 0 < table["relative_error"] <= 2e-3


def test_diff_of_missing_and_added(source: Path, capsys: Capture) -> None:
    tensors = load_file(source)
    tensors["new"] = tensors.pop("norm.bias")
    other = source.with_name("other.safetensors")
    save_file(tensors, other)
    assert run("diff", source, other, "--json") == 1
    statuses = {t["name"]: t["status"] for t in parse(capsys.readouterr().out)["tensors"]}
    assert statuses["norm.bias"] == "missing"
    assert statuses["new"] == "added"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.array([[np.nan, 1]], np.float32), np.array([[2, 1]], np.float32)),
        (np.array([[np.inf, 1]], np.float32), np.array([[np.inf, 2]], np.float32)),
        (np.array([[np.inf, 1]], np.float32), np.array([[-np.inf, 1]], np.float32)),
        (np.zeros((3, 3), np.float32), np.ones((3, 3), np.float32)),
        (np.array([True, False]), np.array([False, False])),
        (np.array([1 + 2j], np.complex64), np.array([2j], np.complex64)),
        (np.array([2**62], np.int64), np.array([2**62 + 1], np.int64)),
        (np.array([0.0], np.float32), np.array([-0.0], np.float32)),
    ],
)
def test_diff_of_odd_values_is_valid_json_and_quiet(
    a: np.ndarray, b: np.ndarray, tmp_path: Path, capsys: Capture
) -> None:
    np.savez(tmp_path / "a.npz", x=a)
    np.savez(tmp_path / "b.npz", x=b)
    assert run("diff", tmp_path / "a.npz", tmp_path / "a.npz", "--json") == 0
    parse(capsys.readouterr().out)
    assert run("diff", tmp_path / "a.npz", tmp_path / "b.npz", "--json") == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert parse(captured.out)["tensors"][0]["status"] == "changed"
    assert run("diff", tmp_path / "a.npz", tmp_path / "b.npz") == 1


def test_a_model_that_was_zero_has_no_small_error(tmp_path: Path, capsys: Capture) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 3), np.float32))
    np.savez(tmp_path / "b.npz", x=np.ones((3, 3), np.float32))
    assert run("diff", tmp_path / "a.npz", tmp_path / "b.npz", "--json") == 1
    assert parse(capsys.readouterr().out)["relative_error"] != 0
