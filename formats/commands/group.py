"""The command of all commands: which there are, found by name, imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from .command import did_you_mean, placed, write_epilogue

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# By which the script of `dcz completion` tells what to complete.
VARIABLE = "_DCZ_COMPLETE"

SECTIONS = {
    "Packing": {
        "pack": "pack a checkpoint",
        "unpack": "unpack a .dcz file into a checkpoint",
    },
    "Looking": {
        "inspect": "list the tensors of any supported file",
        "report": "show stages, streams and entropies",
    },
    "Checking": {
        "verify": "check a .dcz file, alone or against its source",
        "diff": "compare two files of any supported format",
    },
    "Around it": {
        "bench": "time packing and decoding of a file here",
        "completion": "print what makes a shell complete dcz's words",
    },
}
SUMMARIES = {name: text for section in SECTIONS.values() for name, text in section.items()}
# Commands that share another one's module.
_MODULES = {"diff": "verify", "bench": "report"}

_EXAMPLES = """\
examples:
  dcz pack model.safetensors                       error at most 3e-4, nothing pruned
  dcz pack model.pt --sparsity 0.9 --bits 5        the recipe of Deep Compression
  dcz unpack model.dcz -o model.safetensors
  dcz report model.dcz                             where every bit went
  dcz verify model.dcz --against model.safetensors

exit codes: 0 done, 1 verify or diff found a difference, 2 wrong usage,
3 the input is corrupt, unsupported or over a limit, 4 could not read or write
"""


class LazyGroup(click.Group):
    """Commands whose modules are imported when they are run, and not to be listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        if cmd_name not in SUMMARIES:
            return None
        module = importlib.import_module(f".{_MODULES.get(cmd_name, cmd_name)}", __package__)
        command: click.Command = getattr(module, cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command; raises UsageError."""
        with placed(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names.

        Raises
        ------
        UsageError
            There is none, but maybe one of a similar name.
        """
        name = args[0]
        if name not in SUMMARIES and not ctx.resilient_parsing:
            raise click.UsageError(f"no such command {name!r}{did_you_mean(name, SUMMARIES)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=12)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        write_epilogue(self, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that start so."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text)
            for name, text in SUMMARIES.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def program(print_version: Callable[[], Any]) -> click.Group:
    """Return the whole command line.

    Parameters
    ----------
    print_version : callable
        What `--version` does.
    """

    def version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        if not wanted or ctx.resilient_parsing:
            return
        print_version()
        ctx.exit()

    option = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=version,
        help="print version and backend",
    )
    return LazyGroup(
        "dcz",
        params=[option],
        help="Packs a neural network's checkpoint into a small file and gives it back.",
        epilog=_EXAMPLES,
        no_args_is_help=False,
        subcommand_metavar="COMMAND ...",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
