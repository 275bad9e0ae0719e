"""What helps along: sections, suggestions, reasons; and that none of it costs a start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

import dcz
from dcz.cli import main
from dcz.formats.commands.command import Command
from dcz.formats.commands.group import SUMMARIES, program

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "m.dcz"
    dcz.save_file({"encoder.weight": np.eye(9), "encoder.bias": np.ones(9)}, path)
    return path


def refusal(capsys: Capture, *arguments: object) -> str:
    """Run a wrong command line and return the line that says what is wrong with it."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("dcz: ")
    assert all(line.startswith("usage: dcz") for line in lines[1:]) and len(lines) <= 2
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("pakc", "x"), "pack"),
        (("inspekt", "x"), "inspect"),
        (("dif", "a", "b"), "diff"),
        (("pack", "x", "--sparcity", "0.5"), "--sparsity"),
        (("pack", "x", "--maxerror=1e-3"), "--max-error"),
        (("verify", "x", "--agianst", "y"), "--against"),
        (("--versoin",), "--version"),
    ],
)
def test_a_mistyped_word_is_answered_by_one_that_exists(
    arguments: tuple[str, ...], meant: str, capsys: Capture
) -> None:
    assert re.search(rf"did you mean .*{meant}\b.*\?$", refusal(capsys, *arguments))


def test_a_mistyped_tensor_is_answered_by_one_of_the_file(packed: Path, capsys: Capture) -> None:
    line = refusal(capsys, "unpack", packed, "--tensor", "encoder.wieght")
    assert "'encoder.wieght': no such tensor; did you mean encoder.weight" in line
    assert "mean" not in refusal(capsys, "unpack", packed, "--tensor", "?")


@pytest.mark.parametrize("arguments", [("zzzzzz",), ("pack", "x", "--zzzzzz")])
def test_nothing_is_suggested_where_nothing_is_similar(
    arguments: tuple[str, ...], capsys: Capture
) -> None:
    assert "mean" not in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("pack --bits 5 --levels 7", "how many values are shared"),
        ("pack --sparsity 0.5 --threshold 1", "which weights are pruned"),
        ("pack --max-error 0.1 --target-size 9", "how far to go"),
        ("pack --target-ratio 2 --max-error 0.1", "how far to go"),
        ("pack --target-size 9 --target-ratio 2", "how far to go"),
        ("pack --everything --key model", "takes all as it is"),
        ("pack --strip-prefix --everything", "takes all as it is"),
        ("verify --against x --everything --key model", "takes all as it is"),
        ("report --sweep --html x.html", "no page"),
        ("report --sweep --against x.pt", "the source"),
    ],
)
def test_options_that_exclude_each_other_are_named_with_the_reason(
    arguments: str, reason: str, tmp_path: Path, capsys: Capture
) -> None:
    # Found before any file is: there is none here.
    command, *options = arguments.split()
    line = refusal(capsys, command, tmp_path / "missing.pt", *options)
    assert "exclude each other: " in line
    assert reason in line.partition(": ")[2]
    named = line.partition(" exclude")[0]
    assert all(word in options for word in re.findall(r"--[a-z-]+", named))
    assert len(re.findall(r"--[a-z-]+", named)) == 2


def test_a_recipe_file_is_still_overridden_by_the_option_it_excludes(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w=np.random.default_rng(0).normal(size=(40, 40)))
    (tmp_path / "r.toml").write_text("levels = 5\n")
    arguments = ["pack", tmp_path / "m.npz", "--recipe", tmp_path / "r.toml", "--bits", "2"]
    assert main(list(map(str, arguments))) == 0


def loaded(name: str) -> click.Command:
    group = program(lambda: None)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", SUMMARIES)
def test_help_has_every_option_once_in_its_section(name: str, capsys: Capture) -> None:
    command = loaded(name)
    assert isinstance(command, Command)
    assert main([name, "-h"]) == 0
    shown = capsys.readouterr().out
    for option in (found for found in command.params if isinstance(found, click.Option)):
        first = re.escape(max(option.opts, key=len))
        (line,) = re.finditer(rf"^  {first}\b", shown, re.MULTILINE)
        titles = re.findall(r"^(\S.*):$", shown[: line.start()], re.MULTILINE)
        sections = [title for title, names in command.sections.items() if option.name in names]
        assert titles[-1] == (sections[0] if sections else titles[-1])
        assert titles[-1] in command.sections or titles[-1] in ("Options", "Other options")
    assert {name for names in command.sections.values() for name in names} <= {
        option.name for option in command.params
    }
    assert all(
        name in {option.name for option in command.params}
        for exclusion in command.exclusions
        for name in exclusion.names
    )


@pytest.mark.parametrize("name", ["pack", "report", "verify"])
def test_help_of_commands_with_many_options_is_in_sections(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    titles = re.findall(r"^(\S.*):$", capsys.readouterr().out, re.MULTILINE)
    assert len(titles) >= 4
    assert titles[titles.index("Other options") + 1] == "examples"


@pytest.mark.parametrize("name", SUMMARIES)
def test_examples_are_command_lines_that_exist(name: str) -> None:
    command = loaded(name)
    assert command.epilog is not None
    examples = re.findall(rf"dcz {name} (.*)", command.epilog)
    assert examples
    for example in examples:
        words = re.split(r"\s{2,}| >|\)", example)[0].split()
        assert command.make_context(name, words)


WATCHED = """
import sys
from dcz.cli import main

code = main(sys.argv[1:])
print(*sys.modules, sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def started(*arguments: object, **environment: str) -> tuple[str, set[str]]:
    """Run in a process of its own; return standard output and the modules it imported."""
    variables = {name: value for name, value in os.environ.items() if name != "DCZ_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=variables | environment,
        check=True,
    )
    return done.stdout, set(done.stderr.splitlines())


@pytest.mark.parametrize("backend", ["", "numpy", dcz.BACKEND])
def test_the_version_tells_the_backend_without_loading_it(backend: str) -> None:
    asked = "import dcz; print(f'dcz {dcz.__version__} ({dcz.BACKEND} backend)')"
    variables = os.environ | {"DCZ_BACKEND": backend}
    expected = subprocess.check_output([sys.executable, "-c", asked], text=True, env=variables)
    told, imported = started("--version", DCZ_BACKEND=backend)
    assert told == expected
    assert "dcz.cli" in imported
    heavy = {"numpy", "rich", "argparse", "click", "dcz.formats", "dcz.codec.kernels._kernels"}
    assert not heavy & imported


@pytest.mark.parametrize("arguments", [("--version",), ("--version", "pack"), ("verify", "x")])
def test_a_backend_that_is_none_is_wrong_usage(
    arguments: tuple[str, ...], packed: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "dcz", *(packed if a == "x" else a for a in arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"DCZ_BACKEND": "fortran"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "dcz: DCZ_BACKEND is 'fortran', but must be 'c' or 'numpy'\n"


def test_help_lists_commands_without_importing_them() -> None:
    _, imported = started("--help")
    commands = {f"dcz.formats.commands.{name}" for name in SUMMARIES}
    assert not ({"numpy", "rich"} | commands) & imported


def test_a_command_imports_no_other(packed: Path) -> None:
    _, imported = started("inspect", packed)
    found = {name for name in SUMMARIES if f"dcz.formats.commands.{name}" in imported}
    assert found == {"inspect"}
    work = ("dcz.formats.pack", "dcz.formats.report", "dcz.formats.studies", "dcz.codec.encode")
    assert not {name for name in imported if name.startswith(work)}
    assert not {"rich", "tomllib", "argparse"} & imported
