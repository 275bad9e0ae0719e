"""Packs a training checkpoint with all that it holds, so that training resumes from it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

from dcz.codec.errors import RecipeError
from dcz.codec.recipe import Recipe
from dcz.codec.report import Report
from dcz.formats.checkpoint import format_of_file
from dcz.formats.left_out import left_out_in_short
from dcz.formats.packer import Progress
from dcz.formats.packing import Path, pack
from dcz.formats.structure import EverythingCheckpoint


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
        exact = checkpoint.exactly_beside(recipe or Recipe())
        return pack(checkpoint, dest, exact, jobs=jobs, progress=progress, notes=notes)
