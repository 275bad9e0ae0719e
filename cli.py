"""The command line: exit codes and messages; `formats/commands` holds the commands."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

USAGE, BAD_INPUT, IO_FAILURE = range(2, 5)
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done; 1 a verify or diff found a difference; 2 wrong usage; 3 the input is corrupt,
    unsupported or over a limit; 4 could not read or write.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the encoding cannot show is escaped: it comes from a file and must not stop us.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # Asked for alone the version is told without click, which takes longer than all else.
        code = _print_version() if words == ["--version"] else _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - keeps the interpreter's flush quiet
        return IO_FAILURE
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        return _explain(error)
    return code


def _print_version() -> int:
    from . import __version__
    from .codec.kernels import BACKEND

    print(f"dcz {__version__} ({BACKEND} backend)")
    return 0


def _run(words: list[str]) -> int:
    """Find and run a command, without click's own handling of what goes wrong."""
    import click

    from .formats.commands.group import VARIABLE, program

    group = program(_print_version)
    instruction = os.environ.get(VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, "dcz", VARIABLE, instruction)
    try:
        with group.make_context("dcz", words) as context:
            code: int = group.invoke(context)
            return code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _refuse(error)


def _refuse(error: click.ClickException) -> int:
    """Say what is wrong with a command line, and what one looks like."""
    import click

    from .formats.commands.command import did_you_mean_one_of

    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        similar = did_you_mean_one_of(error.possibilities or [])
        message = f"no such option {error.option_name}{similar}"
    message = " ".join(message.split()).removesuffix(".")
    _fail(message[:1].lower() + message[1:], USAGE)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        pieces = [context.command_path, *context.command.collect_usage_pieces(context)]
        print(f"usage: {' '.join(pieces)} (--help tells more)", file=sys.stderr)
    return USAGE


def _explain(error: Exception) -> int:
    """Say in a line what stopped a command; what no input should cause is raised again."""
    from .codec.errors import DczError, RecipeError

    if isinstance(error, RecipeError):
        return _fail(str(error), USAGE)
    if isinstance(error, DczError):
        return _fail(str(error), BAD_INPUT)
    if isinstance(error, OSError):
        place = f"{error.filename or repr('')}: " if error.filename is not None else ""
        return _fail(f"{place}{error.strerror or error}", IO_FAILURE)
    if isinstance(error, MemoryError):
        return _fail("not enough memory", IO_FAILURE)
    if isinstance(error, ImportError) and os.environ.get("DCZ_BACKEND"):
        return _fail(str(error), USAGE)
    raise error


def _fail(message: str, code: int) -> int:
    from .formats.terminal import printable

    print(f"dcz: {printable(message)}", file=sys.stderr)
    return code
