"""`dcz completion`: the script that makes a shell complete commands, options and values."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from .command import Command
from .group import VARIABLE
from .output import DONE

_EXAMPLES = """\
examples:
  eval "$(dcz completion bash)"                    in ~/.bashrc
  eval "$(dcz completion zsh)"                     in ~/.zshrc, after compinit
  dcz completion fish > ~/.config/fish/completions/dcz.fish
"""


@click.command(
    cls=Command,
    help="Print the script that makes SHELL (bash, zsh or fish) complete commands, options, "
    "their values, files, and the names of a file's tensors.",
    epilog=_EXAMPLES,
)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script for a shell; returns the exit code."""
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "dcz", VARIABLE)
    # Not its own `source`, which for bash runs one to ask for its version.
    print(ShellComplete.source(script))
    return DONE
