"""Opens the checkpoint that the options of a command line mean: a part of it, or all of it."""

from __future__ import annotations

import argparse

from dcz.codec.errors import RecipeError
from dcz.codec.recipe import Recipe
from dcz.formats.checkpoint import open_checkpoint
from dcz.formats.everything import open_everything
from dcz.formats.prefixes import PlainNames
from dcz.formats.structure import EverythingCheckpoint
from dcz.formats.tensors import Checkpoint


def open_source(path: str, options: argparse.Namespace) -> Checkpoint:
    """Open what `--key`, `--strip-prefix` and `--everything` ask for of a checkpoint.

    Raises
    ------
    RecipeError
        They exclude each other, or the file has no such part.
    InputError, UnsupportedError, OSError
        As `open_checkpoint`.
    """
    if options.everything:
        if options.key is not None or options.strip_prefix:
            raise RecipeError("--everything takes all as it is; leave out --key and --strip-prefix")
        return open_everything(path)
    checkpoint = open_checkpoint(path, key=options.key)
    return PlainNames(checkpoint) if options.strip_prefix else checkpoint


def recipe_for(checkpoint: Checkpoint, recipe: Recipe) -> Recipe:
    """Return the recipe, with rules for what is packed beside a model."""
    if isinstance(checkpoint, EverythingCheckpoint):
        return checkpoint.exactly_beside(recipe)
    return recipe
