"""Packs a training checkpoint with all that it holds, so that training resumes from it."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping
from fnmatch import fnmatchcase

from ...codec.errors import RecipeError
from ...codec.rate.recipe import Recipe, Rule
from ...codec.report.report import Report
from ..checkpoints.left_out import left_out_in_short
from ..checkpoints.pytorch.structure import EverythingCheckpoint
from ..checkpoints.registry import format_of_file
from ..container.reader import Path
from .pack import pack
from .packer import Progress


def open_everything(path: Path) -> EverythingCheckpoint:
    """Open a file of PyTorch with all that it holds.

    Raises
    ------
    RecipeError
        It is of another format.
    InputError, UnsupportedError, OSError
        As `EverythingCheckpoint`.
    """
    if format_of_file(path) != EverythingCheckpoint.format:
        raise RecipeError("only files of PyTorch hold more than tensors", file=os.fspath(path))
    return EverythingCheckpoint(path)


def pack_everything(
    source: Path,
    dest: Path,
    recipe: Recipe | None = None,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
    notes: Mapping[str, str] | None = None,
) -> Report:
    """Pack a training checkpoint with its optimizer, counters and whatever else is plain data.

    Unpacked to a `.pt` file it is as it was, but for the error that the recipe allows in the model:
    with `Recipe(quantizer="lossless")` training resumes bit for bit. All tensors beside the model's
    are kept exactly, unless a rule of the recipe gives them a quantizer. Names are those of the
    way to a tensor: `model.fc.weight`, `optimizer.state.0.exp_avg`.

    Parameters
    ----------
    source : path
        A file of torch.save.
    dest, recipe, jobs, progress, notes
        As `pack` takes them.

    Warns
    -----
    UserWarning
        If something can't be given back: objects of other classes than Python's, NumPy's and
        PyTorch's containers and numbers. A whole module becomes its state dict.

    Raises
    ------
    RecipeError
        The source is of another format, or the recipe does not fit it.
    InputError, UnsupportedError, OSError
        As `pack`.
    """
    with open_everything(source) as checkpoint:
        if left_out := left_out_in_short(checkpoint):
            warnings.warn(left_out, stacklevel=2)
        exact = exactly_beside(checkpoint, recipe or Recipe())
        return pack(checkpoint, dest, exact, jobs=jobs, progress=progress, notes=notes)


def exactly_beside(checkpoint: EverythingCheckpoint, recipe: Recipe) -> Recipe:
    """Return a recipe that keeps all but the model exactly, unless its own rules differ."""
    names = [_escaped(key) for key in checkpoint.beside]
    patterns = [pattern for name in names for pattern in (name, f"{name}.*")]
    rules = [Rule(pattern=p, quantizer="lossless") for p in patterns]
    used = [r for r in rules if any(fnmatchcase(n, r.pattern) for n in checkpoint.tensors)]
    return dataclasses.replace(recipe, rules=(*used, *recipe.rules))


def _escaped(name: str) -> str:
    """Return the pattern that matches a name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
