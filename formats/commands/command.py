"""A command whose help has sections and examples, and whose options may exclude each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click
from click.core import ParameterSource


class Exclusion(NamedTuple):
    """Options of which one at most may be given, by the names of their values, and why."""

    names: tuple[str, ...]
    reason: str


class Command(click.Command):
    """A command with sections of options and with exclusions.

    Parameters
    ----------
    sections : mapping of str to sequence of str
        Title to the names of the options under it; all others come last.
    exclusions : sequence of Exclusion
        Checked before the command runs.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Sequence[str]] | None = None,
        exclusions: Sequence[Exclusion] = (),
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self.sections = sections or {}
        self.exclusions = exclusions

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line.

        Raises
        ------
        UsageError
            It breaks the rules, or options were given that exclude each other.
        """
        with placed(ctx):
            rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._refuse_excluded(ctx)
        return rest

    def _refuse_excluded(self, ctx: click.Context) -> None:
        spelled = {option.name: _spelled(option) for option in self._options(ctx)}
        for exclusion in self.exclusions:
            given = [spelled[name] for name in exclusion.names if _is_given(ctx, name)]
            if len(given) > 1:
                pair = f"{given[0]} and {given[1]}"
                raise click.UsageError(f"{pair} exclude each other: {exclusion.reason}", ctx)

    def _options(self, ctx: click.Context) -> list[click.Option]:
        return [found for found in self.get_params(ctx) if isinstance(found, click.Option)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        options = {str(option.name): option for option in self._options(ctx)}
        for title, names in self.sections.items():
            _write_section(ctx, formatter, title, [options.pop(name) for name in names])
        title = "Other options" if self.sections else "Options"
        _write_section(ctx, formatter, title, options.values())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        write_epilogue(self, formatter)


@contextlib.contextmanager
def placed(ctx: click.Context) -> Iterator[None]:
    """Tell a wrong usage that passes through, and does not know it, which command it is of."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


def write_epilogue(command: click.Command, formatter: click.HelpFormatter) -> None:
    """Write what comes last in a command's help, without breaking its lines anew."""
    if command.epilog:
        formatter.write("\n" + command.epilog)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to be appended to "no such ..."; empty if nothing is similar."""
    from difflib import get_close_matches

    return did_you_mean_one_of(get_close_matches(name, known))


def did_you_mean_one_of(similar: Sequence[str]) -> str:
    """Return the same question where what is similar is known."""
    return f"; did you mean {' or '.join(similar)}?" if similar else ""


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _spelled(option: click.Option) -> str:
    """The option as it is written, the longest way."""
    return max(option.opts, key=len)


def _write_section(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, options: Iterable[click.Option]
) -> None:
    rows = [row for option in options if (row := option.get_help_record(ctx)) is not None]
    with formatter.section(title):
        formatter.write_dl(rows)
