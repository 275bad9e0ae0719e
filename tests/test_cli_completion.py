"""`dcz completion`: what the scripts for the three shells complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import dcz
from dcz.cli import main
from dcz.formats.commands.group import SUMMARIES

SHELLS = ("bash", "zsh", "fish")
# What bash would do for the words of its arguments, the last of which is incomplete.
BASH = r"""
compopt() { printf '%s\n' "$@"; }
eval "$(dcz completion bash)"
complete -p dcz
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
$(complete -p dcz | sed 's/.*-F \([^ ]*\).*/\1/') dcz
printf '%s\n' "${COMPREPLY[@]}"
"""
# zsh's own functions for completion need a terminal; these show what they would be told.
ZSH = """
compdef() { : }
compadd() { print -l -- "${(@P)@[-1]}" }
_describe() { local word; for word in "${(@P)@[-2]}"; do print -r -- "${word%%:*}"; done }
_path_files() { print -l -- "$@" }
zmodload zsh/parameter
eval "$(dcz completion zsh)"
words=("$@")
CURRENT=$#
_dcz_completion
"""
FISH = (
    "dcz completion fish | source; complete -C (string join -- ' ' $argv) | string split -f 1 \\t"
)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "m.dcz"
    tensors = {"encoder.weight": np.eye(9), "encoder.bias": np.ones(9), "bell\x07": np.ones(9)}
    dcz.save_file(tensors, path)
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One whose PATH starts with a `dcz` that is this package."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "dcz"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dcz "$@"\n')
    command.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "HOME": str(tmp_path)}


def by_protocol(words: Sequence[str], shell: str) -> list[str]:
    """Ask as the script of a shell does, without the shell."""
    line, place = " ".join(words), str(len(words) - 1)
    if shell == "fish":
        place = words[-1]
    asked = {"_DCZ_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": place}
    done = subprocess.run(
        [sys.executable, "-m", "dcz"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | asked,
        check=False,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [line.partition(",")[2].partition("\t")[0] for line in lines if line]


def by_shell(words: Sequence[str], shell: str, environment: dict[str, str]) -> list[str]:
    """Let a shell complete the words; skip if it is not here."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}")
    start = {
        "bash": ["--norc", "-c", BASH, "bash"],
        "zsh": ["-f", "-c", ZSH, "zsh"],
        "fish": ["--no-config", "-c", FISH],
    }[shell]
    done = subprocess.run(
        [program, *start, *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


CASES = [
    (("dcz", "in"), {"inspect"}),
    (("dcz", ""), set(SUMMARIES)),
    (("dcz", "pack", "--target"), {"--target-ratio", "--target-size"}),
    (("dcz", "pack", "--preset", ""), {"paper", "balanced", "max"}),
    (("dcz", "pack", "FILE", "--quantizer", "k"), {"kmeans"}),
    (("dcz", "unpack", "FILE", "--tensor", "encoder.b"), {"encoder.bias"}),
    (("dcz", "unpack", "FILE", "--tensor", "b"), set()),
    (("dcz", "unpack", "MISSING", "--tensor", "e"), set()),
    (("dcz", "verify", "FILE", "--limit", "tensor"), {"tensors=", "tensor_bytes="}),
    (("dcz", "completion", ""), set(SHELLS)),
    (("dcz", "frobnicate", "x"), set()),
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("words", "expected"), CASES)
def test_words_are_completed(
    words: tuple[str, ...], expected: set[str], shell: str, packed: Path
) -> None:
    files = {"FILE": str(packed), "MISSING": str(packed) + "x"}
    found = by_protocol([files.get(word, word) for word in words], shell)
    assert set(filter(None, found)) == expected


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("words", "expected"), [*CASES[:6], CASES[9]])
def test_the_script_completes_in_its_shell(
    words: tuple[str, ...],
    expected: set[str],
    shell: str,
    packed: Path,
    environment: dict[str, str],
) -> None:
    found = by_shell(
        [str(packed) if word == "FILE" else word for word in words], shell, environment
    )
    assert {line for line in found if line and not line.startswith("complete ")} == expected


@pytest.mark.parametrize("words", [("dcz", "inspect", ""), ("dcz", "pack", "--recipe", "")])
def test_files_are_left_to_the_shell(
    words: tuple[str, ...], packed: Path, environment: dict[str, str]
) -> None:
    assert "default" in by_shell(words, "bash", environment)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_without_running_a_shell(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["completion", shell]) == 0
    captured = capsys.readouterr()
    assert f"_DCZ_COMPLETE={shell}_complete" in captured.out
    assert captured.err == ""
