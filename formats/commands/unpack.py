"""`dcz unpack`: a checkpoint from a packed file, or one tensor of it."""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...codec.errors import DczError, RecipeError
from ..terminal import Progress, input_path, output_path
from .command import Command, did_you_mean
from .options import FILE, jobs_option, json_option, limits_option
from .output import DONE, print_json, refuse_same

if TYPE_CHECKING:
    from ..container.limits import DecodeLimits
    from ..container.reader import Reader

# More names than these are not searched for similar ones, nor offered to a shell: it takes long.
_NAMES = 10_000
_EXAMPLES = """\
examples:
  dcz unpack model.dcz                             writes model.safetensors
  dcz unpack model.dcz -o model.pt
  dcz unpack model.dcz -o one.npz --tensor encoder.weight
  cat model.dcz | dcz unpack - -o -                safetensors to standard output
"""


def _complete_tensor(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from ..container.reader import Reader

    # An option whose value is still to come leaves the words before it unassigned.
    files = [ctx.params.get("source"), *ctx.args]
    try:
        with Reader(next(filter(None, files), "")) as archive:
            names = [name for name in islice(archive, _NAMES) if name.startswith(incomplete)]
    except (DczError, OSError):
        return []
    return [name for name in names if name.isprintable()]


@click.command(
    cls=Command,
    help="Unpack FILE, a .dcz file or - for standard input, into a checkpoint.",
    epilog=_EXAMPLES,
    sections={"Files": ("dest", "tensor", "force"), "Reading": ("limits",)},
)
@click.argument("source", metavar="FILE", type=FILE)
@click.option(
    "-o",
    "dest",
    type=FILE,
    metavar="OUT",
    help="a .safetensors (default), .pt or .npz file, or - for standard output",
)
@click.option(
    "--tensor",
    metavar="NAME",
    shell_complete=_complete_tensor,
    help="unpack this tensor only",
)
@click.option("--force", is_flag=True, help="replace an existing file")
@limits_option
@jobs_option
@json_option
def unpack(
    source: str,
    dest: str | None,
    tensor: str | None,
    force: bool,
    limits: DecodeLimits,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Unpack a `.dcz` file into a checkpoint; returns the exit code."""
    from ..container.reader import Reader
    from ..pack import unpack as unpacking

    target = dest or _default_dest(source)
    _check_dest(target, force)
    with input_path(source) as path:
        refuse_same(path, target)
        with Reader(path, limits=limits) as archive:
            names = [_known(tensor, archive, path)] if tensor is not None else list(archive)
            total = sum(archive.info(name).nbytes for name in names)
        with output_path(target, ".safetensors") as made, Progress("unpacking", total) as progress:
            unpacking.unpack(path, made, jobs=jobs, tensor=tensor, limits=limits, progress=progress)
    if as_json:
        out = sys.stderr if target == "-" else sys.stdout
        print_json({"file": target, "tensors": len(names), "bytes": total}, out)
    return DONE


def _default_dest(source: str) -> str:
    return "-" if source == "-" else str(Path(source).with_suffix(".safetensors"))


def _check_dest(dest: str, force: bool) -> None:
    from ..checkpoints.registry import WRITERS, format_of_ending

    if dest != "-" and format_of_ending(dest) not in WRITERS:
        raise RecipeError("use .safetensors, .pt or .npz as the ending", file=dest)
    if os.path.isfile(dest) and not force:
        raise RecipeError("exists; use --force to replace it", file=dest)


def _known(tensor: str, archive: Reader, path: str) -> str:
    """The tensor's name, if the archive has it."""
    if tensor in archive:
        return tensor
    similar = did_you_mean(tensor, islice(archive, _NAMES))
    raise RecipeError(f"no such tensor{similar}", file=path, tensor=tensor)
