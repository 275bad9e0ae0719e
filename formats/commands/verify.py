"""`dcz verify` and `dcz diff`: whether a file is sound, and whether two files agree."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from ..terminal import Progress, input_path, printable
from .command import Command
from .options import (
    FILE,
    SOURCE_EXCLUSIONS,
    jobs_option,
    json_option,
    limits_option,
    source_options,
)
from .output import DIFFERENT, DONE, print_json

if TYPE_CHECKING:
    from ..checkpoints.base import Checkpoint
    from ..container.limits import DecodeLimits
    from ..report.compare import Difference

_EXAMPLES = """\
examples:
  dcz verify model.dcz                              checksums and digests
  dcz verify model.dcz --against model.safetensors  the error of each tensor too

exits with 1 if a tensor is missing, changed or further off than the file says
"""
_DIFF_EXAMPLES = """\
examples:
  dcz diff before.safetensors after.safetensors
  dcz diff model.pt model.dcz --json

exits with 1 if the files differ
"""


@click.command(
    cls=Command,
    help="Check FILE, a .dcz file, alone or against its source.",
    epilog=_EXAMPLES,
    sections={
        "The source": ("against", "key", "everything", "strip_prefix"),
        "Reading": ("limits",),
    },
    exclusions=SOURCE_EXCLUSIONS,
)
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--against", type=FILE, metavar="SRC", help="the checkpoint it was packed from")
@source_options
@limits_option
@jobs_option
@json_option
def verify(
    source: str,
    against: str | None,
    key: str | None,
    everything: bool,
    strip_prefix: bool,
    limits: DecodeLimits,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Check a `.dcz` file, alone or against its source; returns the exit code."""
    from ..console.source_options import open_source
    from ..pack import pack as packing
    from ..report.archive import Archive

    with input_path(source) as path, Archive(path, jobs=jobs, limits=limits) as archive:
        total = sum(archive.info(name).nbytes for name in archive)
        with Progress("verifying", total) as progress:
            packing.verify(archive, progress)
        if against is not None:
            opened = open_source(against, key=key, everything=everything, strip_prefix=strip_prefix)
            with opened as original:
                return _verify_against(original, path, limits, as_json)
        frames, tensors = archive.frames, len(archive)
    if as_json:
        checked = {"file": source, "frames": frames, "tensors": tensors}
        print_json(checked | {"bytes": total, "ok": True})
        return DONE
    place = "standard input" if source == "-" else printable(source)
    print(
        f"{place}: checksums of the index and of {frames} frames, "
        f"digests of {tensors} tensors of {total:,} bytes: all match"
    )
    return DONE


def _verify_against(original: Checkpoint, path: str, limits: DecodeLimits, as_json: bool) -> int:
    from ..checkpoints.dcz import DczCheckpoint
    from ..console import tables
    from ..report import compare
    from ..report.archive import Archive

    with DczCheckpoint(path, limits) as packed:
        differences = _compare(original, packed)
        wrong = compare.unexpected(packed.archive, differences)
    with Archive(path, limits=limits) as archive:
        report = compare.measured(archive.report(), differences)
    if as_json:
        print_json(report.to_dict() | {"ok": not wrong, "wrong": [d.name for d in wrong]})
        return DIFFERENT if wrong else DONE
    tables.show(tables.comparison(differences))
    tables.show(tables.summary(report))
    for difference in wrong:
        print(f"{printable(difference.name)}: {difference.status}, and should not be")
    if not wrong:
        exact = sum(d.status == "equal" for d in differences)
        print(f"verified: {exact} tensors exact, {len(differences) - exact} within their error")
    return DIFFERENT if wrong else DONE


def _compare(first: Checkpoint, second: Checkpoint) -> list[Difference]:
    from ..report import compare

    total = sum(info.nbytes for info in first.tensors.values())
    with Progress("comparing", total) as progress:
        return compare.compare(first, second, progress)


@click.command(
    cls=Command,
    help="Compare two files, A and B, of any supported format.",
    epilog=_DIFF_EXAMPLES,
    sections={"Reading": ("limits",)},
)
@click.argument("first", metavar="A", type=FILE)
@click.argument("second", metavar="B", type=FILE)
@limits_option
@json_option
def diff(first: str, second: str, limits: DecodeLimits, as_json: bool) -> int:
    """Compare two files of any supported format; returns the exit code."""
    from ..checkpoints.registry import open_checkpoint
    from ..console import tables
    from ..report import compare

    with open_checkpoint(first, limits) as one, open_checkpoint(second, limits) as other:
        differences = _compare(one, other)
    different = any(d.status != "equal" for d in differences)
    if as_json:
        rows = [dataclasses.asdict(d) | {"relative_error": d.relative_error} for d in differences]
        error = compare.model_error(differences)
        print_json({"equal": not different, "relative_error": error, "tensors": rows})
    elif different:
        tables.show(tables.comparison(differences))
    else:
        print(f"{len(differences)} tensors, all equal")
    return DIFFERENT if different else DONE
