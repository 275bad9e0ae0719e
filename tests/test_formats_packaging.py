"""What the repository promises about itself as a package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import dcz

ROOT = Path(__file__).parents[1]


def imported_modules(path: Path) -> set[str]:
    """Return the dotted names that a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("name", ["run", "test"])
def test_readme_has_one_line_of_each_kind(name: str) -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert sum(re.search(rf"\s# {name}$", line) is not None for line in lines) == 1


def test_version_is_the_same_everywhere() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version("dcz") == stated
    assert dcz.__version__ == stated
    assert stated in (ROOT / "CHANGELOG.md").read_text()


def test_every_folder_of_modules_is_a_package() -> None:
    for top in (ROOT / "codec", ROOT / "formats"):
        folders = {path.parent for path in top.rglob("*.py")}
        assert folders == {path.parent for path in top.rglob("__init__.py")}


def test_codec_never_imports_formats() -> None:
    modules = sorted((ROOT / "codec").rglob("*.py"))
    assert modules
    for path in modules:
        guilty = {name for name in imported_modules(path) if "formats" in name.split(".")}
        assert not guilty, path


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, dcz; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "dcz" in loaded
    assert not {"torch", "sklearn", "scipy"} & set(loaded)


@pytest.mark.parametrize("loader", ["load_file", "load_state_dict"])
def test_reading_imports_what_it_needs_and_no_more(tmp_path: Path, loader: str) -> None:
    if loader == "load_state_dict":
        pytest.importorskip("torch")
    weights = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    dcz.save_file({"w": weights, "b": weights[0]}, tmp_path / "x.dcz", dcz.Recipe(bits=5))
    program = f"import sys, dcz; dcz.{loader}(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-c", program, tmp_path / "x.dcz"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    own = [name for name in loaded if name.split(".")[0] == "dcz"]
    assert len(own) <= 45
    rooms = {name.split(".")[2] for name in own if name.startswith("dcz.codec.")}
    assert rooms == {"decode", "errors", "kernels", "wire"}
    if loader == "load_file":
        assert not {"ml_dtypes", "zipfile", "json", "dataclasses"} & set(loaded)


def test_training_is_reached_by_its_name() -> None:
    torch = pytest.importorskip("torch")
    program = "import sys, dcz; dcz.training.Pruner; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert {torch.__name__, "dcz.codec.training"} <= set(loaded)


def test_every_public_name_exists() -> None:
    assert dcz.__all__
    for name in dcz.__all__:
        assert hasattr(dcz, name), name
    assert {*dcz.__all__, "calibration", "training"} == set(dir(dcz))
