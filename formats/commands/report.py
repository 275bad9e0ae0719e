"""`dcz report` and `dcz bench`: where the bits went, and how long they take here."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...codec.errors import RecipeError
from ..terminal import Progress, input_path
from .command import Command, Exclusion
from .options import FILE, jobs_option, json_option, limits_option
from .output import DONE, print_json, refuse_overwriting

if TYPE_CHECKING:
    from ...codec.report.report import Report
    from ..container.limits import DecodeLimits

_EXAMPLES = """\
examples:
  dcz report model.dcz
  dcz report model.dcz --against model.safetensors
  dcz report model.dcz --html report.html
  dcz report --sweep model.safetensors -o curve.svg
"""
_BENCH_EXAMPLES = """\
examples:
  dcz bench model.safetensors                      packing at 5 bits, and decoding
  dcz bench model.dcz --runs 9 --jobs 1            decoding alone, on one core
"""


@click.command(
    cls=Command,
    help="Show stages, streams and entropies of FILE, a .dcz file; with --sweep a checkpoint.",
    epilog=_EXAMPLES,
    sections={
        "Of a packed file": ("html", "against", "limits"),
        "Of a checkpoint": ("sweep", "dest"),
    },
    exclusions=(
        Exclusion(("sweep", "html"), "--sweep packs a checkpoint, of which there is no page"),
        Exclusion(("sweep", "against"), "--sweep packs a checkpoint, which is the source"),
    ),
)
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--html", type=FILE, metavar="OUT", help="write a page instead")
@click.option(
    "--against", type=FILE, metavar="SRC", help="also measure SRC through zstd -19 (slow)"
)
@click.option("--sweep", is_flag=True, help="pack a checkpoint by every preset for several errors")
@click.option(
    "-o",
    "dest",
    type=FILE,
    metavar="OUT",
    help="with --sweep: also draw a picture, .svg or .png",
)
@limits_option
@json_option
def report(
    source: str,
    html: str | None,
    against: str | None,
    sweep: bool,
    dest: str | None,
    limits: DecodeLimits,
    as_json: bool,
) -> int:
    """Show what a `.dcz` file is made of, or a checkpoint's sweep; returns the exit code."""
    from ..console import tables

    if sweep:
        return _sweep(source, dest, limits, as_json)
    if dest is not None:
        raise RecipeError("-o is for the picture of --sweep; a report's page is --html OUT")
    if html is not None:
        refuse_overwriting(html, tables.PAGE_START, "a page; choose another name")
    found = _report(source, against, limits)
    if html is not None:
        tables.write_html(found, Path(html))
    if as_json:
        print_json(found.to_dict())
    elif html is None:
        tables.show(tables.report_view(found))
    return DONE


def _report(source: str, against: str | None, limits: DecodeLimits) -> Report:
    from ..report import alternatives
    from ..report.archive import Archive

    with input_path(source) as path, Archive(path, limits=limits) as archive:
        found = archive.report()
        sizes = {alternatives.INDICES: alternatives.compress_indices(archive)}
    if against is not None:
        with Progress("zstd -19", os.path.getsize(against)) as progress:
            sizes[alternatives.SOURCE] = alternatives.compress_source(against, progress)
    return dataclasses.replace(found, alternatives=sizes)


def _sweep(source: str, dest: str | None, limits: DecodeLimits, as_json: bool) -> int:
    """Pack a checkpoint with every preset for several errors, and show what each needs."""
    from ...codec.rate.recipe import PRESETS
    from ..checkpoints.registry import open_checkpoint
    from ..console import picture, tables
    from ..studies import sweep

    _check_picture(dest)
    with input_path(source) as path, open_checkpoint(path, limits) as checkpoint:
        total = sum(info.nbytes for info in checkpoint.tensors.values())
        points = len(PRESETS) * len(sweep.ERRORS)
        with Progress("packing", points * total) as progress:
            found = sweep.sweep(checkpoint, progress=progress)
    found = dataclasses.replace(found, source=source)
    if dest is not None:
        picture.write_picture(found, dest)
    if as_json:
        print_json(found.to_dict())
    else:
        tables.show(tables.sweep_view(found))
    return DONE


def _check_picture(dest: str | None) -> None:
    """Refuse a picture that cannot be drawn before anything is packed."""
    from ..console import picture

    if dest is None:
        return
    start = picture.STARTS.get(Path(dest).suffix.lower())
    if start is None:
        raise RecipeError("use .svg or .png as the ending", file=dest)
    picture.require_matplotlib()
    refuse_overwriting(dest, start, "a picture; choose another name")


@click.command(
    cls=Command,
    help="Time packing and decoding of FILE, a .dcz file or a checkpoint, on this machine.",
    epilog=_BENCH_EXAMPLES,
)
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--runs", type=int, default=5, metavar="N", help="default: 5")
@jobs_option
@json_option
def bench(source: str, runs: int, jobs: int | None, as_json: bool) -> int:
    """Time packing and decoding of a file on this machine; returns the exit code."""
    from ..console import tables
    from ..studies import bench as timing

    with input_path(source) as path:
        figures = timing.bench(path, runs=max(runs, 1), jobs=jobs)
    if as_json:
        print(json.dumps([dataclasses.asdict(figure) for figure in figures]))
    else:
        tables.show(tables.timings(figures))
    return DONE
