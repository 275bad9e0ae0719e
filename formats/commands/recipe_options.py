"""The options that make a recipe, and the recipe they make."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...codec.errors import RecipeError, located
from .command import Exclusion
from .options import FILE, Function

if TYPE_CHECKING:
    from ...codec.rate.recipe import Recipe

Completer = Callable[[click.Context, click.Parameter, str], list[str]]

SECTIONS = {
    "What comes out": ("preset", "max_error", "error_of", "target_ratio", "target_size"),
    "Pruning": ("sparsity", "threshold", "scope"),
    "Sharing and coding": ("bits", "levels", "quantizer", "initialisation", "states", "coder"),
    "From files": ("recipe", "calibration"),
}
EXCLUSIONS = (
    Exclusion(("bits", "levels"), "both say how many values are shared"),
    Exclusion(("sparsity", "threshold"), "both say which weights are pruned"),
    Exclusion(
        ("max_error", "target_ratio", "target_size"), "each says how far to go; give one of them"
    ),
)
# An option given on the command line takes the place of these in a recipe file.
_REPLACES = {
    "max_error": ("target_ratio", "target_size"),
    "target_ratio": ("max_error", "target_size"),
    "target_size": ("max_error", "target_ratio"),
    "preset": ("quantizer",),
    "bits": ("levels",),
    "levels": ("bits",),
    "sparsity": ("threshold",),
    "threshold": ("sparsity",),
}


def recipe_from(path: str | None, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a file, if there is one, and of options; None is one not given.

    Raises
    ------
    RecipeError
        The file is no recipe, or what was asked for does not go together.
    OSError
        The file can't be read.
    """
    from ...codec.rate.recipe import Recipe

    table = {} if path is None else _table_of(path)
    given = {name: value for name, value in settings.items() if value is not None}
    for name in given:
        for other in _REPLACES.get(name, ()):
            table.pop(other, None)
    return Recipe.from_dict(table | given)


def _table_of(path: str) -> dict[str, Any]:
    from ...codec.rate.recipe import Recipe

    with located(file=path):
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"not a TOML file: {error}") from None
        Recipe.from_dict(table)
    return table


def recipe_options(function: Function) -> Function:
    """Add the options of a recipe: `recipe`, and one for each name in `SECTIONS`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _values(module: str, constant: str) -> Completer:
    """Complete the values of a constant of the codec, which is imported only then."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from importlib import import_module

        known = getattr(import_module(f"...codec.{module}", __package__), constant)
        return [str(value) for value in known if str(value).startswith(incomplete)]

    return complete


_OPTIONS = (
    click.option(
        "--preset",
        metavar="P",
        shell_complete=_values("rate.recipe", "PRESETS"),
        help="balanced: small at equal error, quick to decode (the default); max: smallest, and "
        "slow; paper: k-means and Huffman coding, which --bits and --levels choose too",
    ),
    click.option(
        "--sparsity", type=float, metavar="F", help="share of the weights to prune, 0 to 1"
    ),
    click.option(
        "--threshold",
        type=float,
        metavar="T",
        help="prune weights of smaller magnitude instead",
    ),
    click.option(
        "--scope",
        metavar="S",
        shell_complete=_values("rate.recipe", "SCOPES"),
        help="lamp (default): by a score that scales do not change; global: one threshold; "
        "tensor: one for each",
    ),
    click.option("--bits", type=int, metavar="N", help="index bits: 2**N shared values, 1 to 16"),
    click.option(
        "--levels", type=int, metavar="K", help="number of shared values instead of --bits"
    ),
    click.option(
        "--max-error", type=float, metavar="E", help="relative squared error (default: 3e-4)"
    ),
    click.option(
        "--error-of",
        metavar="W",
        shell_complete=_values("rate.recipe", "ERRORS"),
        help="layers: the mean of the tensors' relative errors, counted by their roles (default); "
        "model: all squared errors over all squares",
    ),
    click.option("--target-ratio", type=float, metavar="R", help="how many times smaller, instead"),
    click.option("--target-size", type=int, metavar="BYTES", help="size of the file, instead"),
    click.option(
        "--quantizer",
        metavar="Q",
        shell_complete=_values("rate.recipe", "QUANTIZERS"),
        help="kmeans, grid, trellis or lossless; overrides the preset",
    ),
    click.option(
        "--initialisation",
        metavar="I",
        shell_complete=_values("share.kmeans", "INITIALISATIONS"),
        help="best (default), optimal, linear, density or random",
    ),
    click.option(
        "--states",
        type=int,
        metavar="N",
        shell_complete=_values("wire.trellis_states", "STATES"),
        help="of a trellis: 4, 8, 16, 32 or 64 (default)",
    ),
    click.option(
        "--coder",
        metavar="C",
        shell_complete=_values("rate.recipe", "CODERS"),
        help="huffman, auto or mixed (default: by quantizer)",
    ),
    click.option(
        "--recipe",
        type=FILE,
        metavar="FILE",
        help="TOML file with these settings by tensor name",
    ),
    click.option(
        "--calibration",
        type=FILE,
        metavar="FILE",
        help="of dcz.calibration.collect: errors of the output",
    ),
)
