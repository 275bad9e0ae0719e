"""Help, version and wrong usage: what a user meets before any file is read."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import dcz
from dcz.cli import main

COMMANDS = ("pack", "unpack", "inspect", "report", "verify", "diff", "bench", "completion")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    values = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
    save_file({"layer.weight": values, "layer.bias": values[0].copy()}, path)
    return path


def run(*arguments: object) -> int:
    """Run the command line in this process."""
    return main([str(argument) for argument in arguments])


def test_output_may_go_to_any_text_stream(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    assert run("inspect", source) == 0
    assert "layer.weight" in stream.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "--help") == 0
    out = capsys.readouterr().out
    examples = out[out.index("examples:") :]
    assert f"dcz {command} " in examples


def test_help_lists_all_commands_and_exit_codes_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\s+\w", out, re.MULTILINE)


@pytest.mark.parametrize("arguments", [("--version",), ("--version", "pack")])
def test_version_names_release_and_backend(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 0
    assert capsys.readouterr().out == f"dcz {dcz.__version__} ({dcz.BACKEND} backend)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("pack",),
        ("unpack",),
        ("verify",),
        ("diff", "only-one"),
        ("inspect", "a", "b"),
        ("unpack", "a", "--bits", "4"),
        ("pack", "a", "-o"),
        ("--bits",),
        ("--version=3",),
        ("completion",),
        ("completion", "tcsh"),
    ],
)
def test_wrong_command_lines_are_usage_errors(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: dcz" in captured.err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--bits", value) for value in ("0", "17", "-1", "1.5", "many", "")),
        *(("--levels", value) for value in ("0", "-1", "65537", "2.5")),
        *(("--sparsity", value) for value in ("1.0", "-1", "2", "nan", "inf", "half")),
        *(("--threshold", value) for value in ("-1", "nan", "x")),
        *(("--max-error", value) for value in ("-1", "2", "nan", "x")),
        *(("--jobs", value) for value in ("0", "-1", "1.5", "all")),
        ("--quantizer", "vector"),
        ("--coder", "zip"),
        ("--scope", "layer"),
        ("--initialisation", "best-ever"),
        ("--preset", "tiny"),
    ],
)
def test_bad_option_values_are_usage_errors(
    option: str, value: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pack", source, option, value) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    named = captured.err.replace("_", "-")
    assert option.removeprefix("--") in named
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.parametrize(
    "options",
    [("--bits", "5", "--levels", "7"), ("--sparsity", "0.5", "--threshold", "0.1")],
)
def test_options_that_exclude_each_other(
    options: tuple[str, ...], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pack", source, *options) == 2
    err = capsys.readouterr().err
    assert options[0].removeprefix("--") in err
    assert options[2].removeprefix("--") in err
    assert list(source.parent.iterdir()) == [source]


@pytest.mark.parametrize("value", ["0", "-1"])
@pytest.mark.parametrize("command", ["unpack", "verify"])
def test_jobs_must_be_positive_everywhere(command: str, value: str, source: Path) -> None:
    packed = source.with_suffix(".dcz")
    assert run("pack", source) == 0
    dest = ["-o", source.with_name("out.npz")] if command == "unpack" else []
    assert run(command, packed, *dest, "--jobs", value) == 2


NO_HEAVY_IMPORTS = """
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "sklearn", "scipy", "matplotlib"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, Forbid())
from dcz.cli import main

packed, source, out = sys.argv[1:]
for arguments in (
    ["pack", source, "-o", packed],
    ["inspect", packed],
    ["inspect", source],
    ["report", packed],
    ["report", "--sweep", source],
    ["verify", packed],
    ["verify", packed, "--against", source],
    ["unpack", packed, "-o", out + ".safetensors"],
    ["unpack", packed, "-o", out + ".npz"],
    ["diff", packed, packed],
    ["--version"],
):
    code = main(arguments)
    assert code == 0, (arguments, code)
assert not {"torch", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
"""


def test_torch_and_sklearn_are_not_imported_without_need(source: Path) -> None:
    names = (source.with_suffix(".dcz"), source, source.with_name("out"))
    command = [sys.executable, "-c", NO_HEAVY_IMPORTS, *map(str, names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_inspect_does_not_import_what_only_tables_need(source: Path) -> None:
    script = (
        "import sys; from dcz.cli import main; main(['inspect', sys.argv[1]]);"
        "assert not {'torch', 'sklearn', 'rich'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", script, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_module_is_the_command(source: Path) -> None:
    command = [sys.executable, "-m", "dcz", "inspect", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "layer.weight" in done.stdout
