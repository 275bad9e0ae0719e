"""Unusual values, types, layouts and names: back bit for bit, or refused when packed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from workers import Tally

import dcz
from dcz.formats.container.dtypes import DTYPES

Array = np.ndarray[Any, Any]
RECIPES = (
    None,
    dcz.Recipe(quantizer="lossless"),
    dcz.Recipe(preset="balanced"),
    dcz.Recipe(preset="max"),
)
NAMES = ["", " ", ".", "..", "/", "../x", "a/b", "a\\b", "\0", "a\0b", "\n", "\x1b[31m", "\u202e"]
NAMES += ["ä", "a\u0308", "\U0001f600", "模型", "-o", "x" * 10_000, "CON", "\ufeff", "__metadata__"]
BAD_NAMES = ["\ud800", "a\udfff"]
SPECIAL = {
    2: [0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFE55, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0],
    4: [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFC12345, 0x80000000, 1, 0x807FFFFF, 0],
    8: [0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0x7FF0 << 48) + 1, 1 << 63, 1, 0],
}


def round_trips(folder: Path, seeds: int) -> Tally:
    """Every dtype in every layout by three recipes; exact ones must come back bit for bit."""
    tally = Tally()
    for seed in range(seeds):
        for recipe in RECIPES:
            for row in DTYPES:
                _one(folder, f"{row.name} {seed}", dict(_layouts(row.numpy, seed)), recipe, tally)
    names = {name: np.full(3, i) for i, name in enumerate(NAMES)}
    _one(folder, "odd names", names, None, tally)
    for name in BAD_NAMES:
        _refused(folder, {name: np.ones(2)}, tally)
    for bad in (np.array([object()]), np.array(["text"]), np.zeros(2, "M8[s]"), np.zeros(2, "V3")):
        _refused(folder, {"x": bad}, tally)
    return tally


def _layouts(dtype: np.dtype[Any], seed: int) -> Iterator[tuple[str, Array]]:
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, 60 * dtype.itemsize, np.uint8)
    raw = raw & 1 if dtype == np.bool_ else raw
    base = raw.view(dtype)
    yield "plain", base.reshape(6, 10)
    yield "Fortran", np.asfortranarray(base.reshape(6, 10))
    yield "strided", base.reshape(6, 10)[::2, ::-3]
    yield "expanded", np.broadcast_to(base[:5], (4, 5))
    yield "scalar", base[:1].reshape(())
    yield "empty", base[:0].reshape(3, 0, 2)
    yield "overlapping", base[3:23].reshape(4, 5)
    yield "tied", base.reshape(6, 10)
    yield "many dimensions", base[:4].reshape((1,) * 20 + (4,))
    if dtype.itemsize > 1 and dtype.isnative and dtype.kind in "fiuc":
        yield "swapped", base.reshape(6, 10).astype(dtype.newbyteorder(">"))
    words = SPECIAL.get(dtype.itemsize)
    if words is not None:
        yield "special", np.array(words, f"u{dtype.itemsize}").view(dtype)
        combined = list(itertools.product(words, words))
        yield "special pairs", np.array(combined, f"u{dtype.itemsize}").view(dtype)


def _one(
    folder: Path, what: str, tensors: dict[str, Array], recipe: dcz.Recipe | None, tally: Tally
) -> None:
    path = folder / "values.dcz"
    before = {name: array.tobytes() for name, array in tensors.items()}
    try:
        dcz.save_file(tensors, path, recipe, jobs=1)
    except dcz.DczError as error:
        if recipe is not None and recipe.quantizer != "lossless":
            tally.add(f"refused when packed: {type(error).__name__}")
        else:
            tally.fail(f"{what}: {error}")
        return
    with dcz.open(path, jobs=1) as archive:
        for name, array in tensors.items():
            found = archive[name]
            native = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
            exact = archive.is_exact(name)
            if array.tobytes() != before[name]:
                tally.fail(f"{what}: packing changed {name!r}")
            elif found.shape != array.shape or (exact and found.tobytes() != native.tobytes()):
                tally.fail(f"{what}: {name!r} came back changed")
            else:
                tally.add("bit-exact" if exact else "within its error, of the right shape")


def _refused(folder: Path, tensors: dict[str, Array], tally: Tally) -> None:
    path = folder / "refused.dcz"
    try:
        dcz.save_file(tensors, path)
    except dcz.DczError as error:
        tally.add(f"refused when packed: {type(error).__name__}")
    except Exception as error:
        tally.fail(f"{list(tensors)}: {type(error).__name__}: {error}")
    else:
        tally.fail(f"{list(tensors)} was packed")
    if path.exists():
        tally.fail(f"{list(tensors)}: a file was left")
