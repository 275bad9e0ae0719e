"""Options that several commands have: JSON, threads, limits of decoding, parts of a source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .command import Exclusion

if TYPE_CHECKING:
    from ..container.limits import DecodeLimits

Function = TypeVar("Function", bound=Callable[..., Any])

# Whether a file can be read is found out by opening it, which tells more.
FILE = click.Path(readable=False)


def _read_count(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    if not value.isdecimal() or int(value) == 0:
        raise click.BadParameter(f"{value!r} is not a whole number above 0", ctx, parameter)
    return int(value)


def _read_limits(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> DecodeLimits:
    from ..container.limits import parse_limits

    try:
        return parse_limits(values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


def _complete_limit(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from ..container.limits import DecodeLimits

    names = (f"{field}=" for field in DecodeLimits._fields)
    return [name for name in names if name.startswith(incomplete)]


json_option = click.option("--json", "as_json", is_flag=True, help="print JSON instead of a table")
jobs_option = click.option(
    "--jobs", callback=_read_count, metavar="N", help="threads (default: all cores)"
)
limits_option = click.option(
    "--limit",
    "limits",
    multiple=True,
    callback=_read_limits,
    shell_complete=_complete_limit,
    metavar="NAME=N",
    help="what a .dcz file may declare, as total_bytes=8G; may be repeated",
)
key_option = click.option(
    "--key",
    metavar="KEY",
    help="which part of a PyTorch file, as model_ema or callbacks.0.weights (default: its model)",
)
_everything_option = click.option(
    "--everything",
    is_flag=True,
    help="a PyTorch file with its optimizer and counters, which unpack -o OUT.pt gives back",
)
_prefix_option = click.option(
    "--strip-prefix", is_flag=True, help="take module. and _orig_mod. off the names"
)


SOURCE_EXCLUSIONS = (
    Exclusion(("everything", "key"), "--everything takes all as it is"),
    Exclusion(("everything", "strip_prefix"), "--everything takes all as it is"),
)


def source_options(function: Function) -> Function:
    """Add what says which part of a source is meant: `key`, `everything`, `strip_prefix`."""
    return key_option(_everything_option(_prefix_option(function)))
