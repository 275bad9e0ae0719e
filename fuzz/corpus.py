"""The files that the campaign damages: the golden ones, and larger ones made here."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import dcz

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
sys.path.append(str(ROOT / "tests"))
import support_format  # type: ignore[import-not-found]  # noqa: E402

SMALL = 4096
LIMITS = dcz.DecodeLimits(tensor_bytes=1 << 22, total_bytes=1 << 23)

Content = dict[str, tuple[str, tuple[int, ...], bytes]]
format_page = support_format


@cache
def golden() -> dict[str, bytes]:
    """Golden files of up to 4 KB by name."""
    files = {path.stem: path.read_bytes() for path in sorted(GOLDEN.glob("*.dcz"))}
    return {name: data for name, data in files.items() if len(data) <= SMALL}


def model() -> dict[str, np.ndarray[Any, Any]]:
    """Tensors of many kinds, 46,000 elements."""
    random = np.random.Generator(np.random.PCG64(1))
    sparse = random.normal(size=(100, 120)).astype(np.float32)
    sparse[random.random(sparse.shape) < 0.9] = 0
    return {
        "conv": random.normal(size=(16, 32, 3, 3)).astype(np.float32),
        "linear": random.laplace(size=(100, 80)).astype(np.float16),
        "sparse": sparse,
        "brain": random.normal(size=(60, 90)).astype(ml_dtypes.bfloat16),
        "double": random.normal(size=(30, 40)),
        "codes": random.binomial(14, 0.4, (100, 150)).astype(np.int8),
        "steps": np.arange(900),
        **{f"bias.{i}": random.normal(size=40 + i).astype(np.float32) for i in range(2)},
    }


@cache
def larger(folder: Path) -> dict[str, bytes]:
    """Files of 7 to 50 KB, by every preset and quantizer."""
    recipes = {
        "paper": dcz.Recipe(sparsity=0.9, bits=5),
        "balanced": dcz.Recipe(preset="balanced"),
        "max": dcz.Recipe(preset="max"),
        "exact": dcz.Recipe(quantizer="lossless"),
        "wide": dcz.Recipe(levels=5000),
    }
    files = {}
    for name, recipe in recipes.items():
        dcz.save_file(model(), folder / f"{name}.dcz", recipe, jobs=1)
        files[name] = (folder / f"{name}.dcz").read_bytes()
    return files


def content(path: Path) -> Content:
    """All tensors of a file. Raises DczError."""
    arrays = dcz.load_file(path, jobs=1, limits=LIMITS)
    return {name: (a.dtype.name, a.shape, a.tobytes()) for name, a in arrays.items()}


@cache
def parsed(folder: Path) -> list[Any]:
    """The golden files, then some larger ones, taken apart by the tests' reader."""
    large = [data for name, data in larger(folder).items() if name in ("paper", "balanced", "max")]
    return [format_page.parse(data) for data in [*golden().values(), *large]]


def write_and_load(path: Path, data: bytes) -> Content:
    """All tensors of a file that is written first. Raises DczError."""
    path.write_bytes(data)
    return content(path)
