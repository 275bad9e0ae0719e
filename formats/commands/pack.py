"""`dcz pack`: a checkpoint into a small file, and what became of it."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ...codec.errors import located
from ..terminal import Progress, input_path, output_path, printable
from .command import Command
from .options import FILE, SOURCE_EXCLUSIONS, jobs_option, json_option, source_options
from .output import DONE, print_json, refuse_overwriting, refuse_same
from .recipe_options import EXCLUSIONS, SECTIONS, recipe_from, recipe_options

if TYPE_CHECKING:
    from ...codec.rate.recipe import Recipe
    from ...codec.report.report import Report
    from ..checkpoints.base import Checkpoint

_COMPARED_BELOW = 1 << 21
_COMPARED_TENSORS = 1000
_EXAMPLES = """\
examples:
  dcz pack model.safetensors                       writes model.dcz
  dcz pack model.pt -o small.dcz --sparsity 0.9 --bits 5
  dcz pack model.npz --max-error 1e-4 --json
  dcz pack model.pt --target-size 2000000
  dcz pack model.pt --recipe layers.toml           settings by tensor name
  dcz pack model.pt --calibration model.cal.safetensors --max-error 2e-2
  dcz pack model.pt --bits 5 --note test_error=0.0153
  dcz pack training.ckpt --key model_ema           the average, not the model
  dcz pack training.ckpt --everything              the optimizer and all else too
  cat model.safetensors | dcz pack - -o -          from standard input to standard output

a recipe file:
  sparsity = 0.9
  bits = 5
  [[tensor]]
  pattern = "*.embeddings.*"
  bits = 8
"""


def _read_notes(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    notes = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", ctx, parameter)
        notes[key] = text
    return notes


@click.command(
    cls=Command,
    help="Pack the checkpoint SRC: a .safetensors, .pt, .pth or .npz file, or - for standard "
    "input.",
    epilog=_EXAMPLES,
    sections={
        "Files": ("dest", "force", "key", "everything", "strip_prefix", "notes"),
        **SECTIONS,
    },
    exclusions=(*EXCLUSIONS, *SOURCE_EXCLUSIONS),
)
@click.argument("source", metavar="SRC", type=FILE)
@click.option(
    "-o", "dest", type=FILE, metavar="OUT", help="file to write (default: SRC's name as .dcz)"
)
@recipe_options
@click.option(
    "--note",
    "notes",
    callback=_read_notes,
    multiple=True,
    metavar="KEY=VALUE",
    help="kept in the file and shown in reports, such as test_error=0.0153; may be repeated",
)
@source_options
@click.option("--compare", is_flag=True, help="also measure the source through zstd -19 (slow)")
@click.option("--force", is_flag=True, help="replace an existing file that is not a .dcz file")
@jobs_option
@json_option
def pack(
    source: str,
    dest: str | None,
    recipe: str | None,
    notes: dict[str, str],
    key: str | None,
    everything: bool,
    strip_prefix: bool,
    compare: bool,
    force: bool,
    jobs: int | None,
    as_json: bool,
    **settings: Any,
) -> int:
    """Pack a checkpoint, show the report and what goes further; returns the exit code."""
    from ..checkpoints.left_out import left_out_lines, left_out_table
    from ..console.source_options import open_source
    from ..container.container import MAGIC

    wanted = recipe_from(recipe, settings)
    target = dest if dest is not None else _default_dest(source)
    with input_path(source) as path, output_path(target) as packed:
        refuse_same(path, packed)
        if not force:
            refuse_overwriting(packed, MAGIC, "a .dcz file; use --force to replace it")
        part = open_source(path, key=key, everything=everything, strip_prefix=strip_prefix)
        with part as checkpoint:
            with located(file=recipe):
                wanted.check_patterns(list(checkpoint.tensors))
            report = _pack(checkpoint, packed, wanted, jobs, notes)
            beside, told = left_out_table(checkpoint), left_out_lines(checkpoint)
        if compare or _is_quick_to_compare(report, path):
            report = _compared(report, path, packed)
    out = sys.stderr if target == "-" else sys.stdout
    if as_json:
        print_json(report.to_dict() | beside, out)
        return DONE
    _show(wanted, report, told, out)
    if target != "-":
        print(f"wrote {printable(target)}", file=out)
    return DONE


def _pack(
    checkpoint: Checkpoint, dest: str, recipe: Recipe, jobs: int | None, notes: dict[str, str]
) -> Report:
    from ..console.source_options import recipe_for
    from ..pack import pack as packing

    total = sum(info.nbytes for info in checkpoint.tensors.values())
    whole = recipe_for(checkpoint, recipe)
    with Progress("packing", total) as progress:
        return packing.pack(checkpoint, dest, whole, jobs=jobs, progress=progress, notes=notes)


def _show(recipe: Recipe, report: Report, told: list[str], out: IO[str]) -> None:
    from ..console import tables
    from ..console.advice import advice

    tables.show(tables.report_view(report), out)
    for line in (advice(recipe, report), *told):
        print(line, file=out)


def _default_dest(source: str) -> str:
    return "-" if source == "-" else str(_without_ending(source)) + ".dcz"


def _without_ending(path: str) -> Path:
    stem, sharded = Path(path), ".safetensors.index.json"
    if stem.name.endswith(sharded):
        return stem.with_name(stem.name.removesuffix(sharded))
    return stem.with_suffix("")


def _is_quick_to_compare(report: Report, source: str) -> bool:
    return len(report.tensors) <= _COMPARED_TENSORS and os.path.getsize(source) <= _COMPARED_BELOW


def _compared(report: Report, source: str, packed: str) -> Report:
    """The report with what other compressors make of the source and of the indices."""
    from ..report import alternatives
    from ..report.archive import Archive

    with Archive(packed) as archive:
        sizes = {alternatives.INDICES: alternatives.compress_indices(archive)}
    with Progress("zstd -19", os.path.getsize(source)) as progress:
        sizes[alternatives.SOURCE] = alternatives.compress_source(source, progress)
    return dataclasses.replace(report, alternatives=sizes)
