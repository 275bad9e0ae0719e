"""Limits on the command line: what a file from a stranger may declare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dcz
from dcz.cli import main
from dcz.formats.container.limits import parse_limits


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "m.dcz"
    dcz.save_file({"a": np.arange(3000, dtype=np.int32), "b": np.ones(10)}, path)
    return path


@pytest.mark.parametrize("command", ["inspect", "verify", "report", "unpack", "diff"])
@pytest.mark.parametrize("limit", ["tensor_bytes=10", "tensors=1", "total_bytes=1K"])
def test_a_limit_is_kept_by_every_command_that_reads(
    packed: Path, command: str, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, str(packed), *([str(packed)] if command == "diff" else [])]
    assert main([*arguments, "--limit", limit]) == 3
    assert "limit of" in capsys.readouterr().err
    assert list(packed.parent.iterdir()) == [packed]
    enough = ["--limit", "tensor_bytes=12000", "--limit", "total_bytes=1M", "--limit", "tensors=2"]
    assert main([*arguments, *enough]) == 0


def test_a_sweep_keeps_limits_too(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--sweep", str(packed), "--limit", "tensors=1"]) == 3
    assert "limit of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "limit", ["", "tensors", "tensors=", "tensors=-1", "bytes=1", "tensors=1X"]
)
def test_a_limit_that_is_none_is_wrong_usage(
    packed: Path, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(packed), "--limit", limit]) == 2
    assert "NAME=NUMBER" in capsys.readouterr().err


def test_units_are_powers_of_1024() -> None:
    limits = parse_limits(["total_bytes=3G", "tensor_bytes=5k", "tensors=7", "index_bytes=1T"])
    assert (limits.total_bytes, limits.tensor_bytes) == (3 << 30, 5 << 10)
    assert (limits.tensors, limits.index_bytes) == (7, 1 << 40)
    assert parse_limits([]) == dcz.DecodeLimits()


def test_verify_says_what_it_checked(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(packed)]) == 0
    told = capsys.readouterr().out
    assert "the index and of 2 frames, digests of 2 tensors of 12,080 bytes: all match" in told
    assert main(["verify", str(packed), "--json"]) == 0
    assert '"frames": 2, "tensors": 2, "bytes": 12080, "ok": true' in capsys.readouterr().out
