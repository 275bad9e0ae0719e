"""Opens the checkpoint that the options of a command line mean: a part of it, or all of it."""

from __future__ import annotations

from ...codec.rate.recipe import Recipe
from ..checkpoints.base import Checkpoint
from ..checkpoints.prefixes import PlainNames
from ..checkpoints.pytorch.structure import EverythingCheckpoint
from ..checkpoints.registry import open_checkpoint
from ..pack.everything import exactly_beside, open_everything


def open_source(path: str, *, key: str | None, everything: bool, strip_prefix: bool) -> Checkpoint:
    """Open what `--key`, `--strip-prefix` and `--everything` ask for of a checkpoint.

    Raises
    ------
    RecipeError
        The file has no such part.
    InputError, UnsupportedError, OSError
        As `open_checkpoint`.
    """
    if everything:
        return open_everything(path)
    checkpoint = open_checkpoint(path, key=key)
    return PlainNames(checkpoint) if strip_prefix else checkpoint


def recipe_for(checkpoint: Checkpoint, recipe: Recipe) -> Recipe:
    """Return the recipe, with rules for what is packed beside a model."""
    if isinstance(checkpoint, EverythingCheckpoint):
        return exactly_beside(checkpoint, recipe)
    return recipe
