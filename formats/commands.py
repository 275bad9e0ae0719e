"""What each command does: calls the library, prints, and returns the exit code."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import tomllib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..codec.errors import RecipeError, located
from .terminal import Progress, input_path, output_path, printable

if TYPE_CHECKING:
    from ..codec.rate.recipe import Recipe

DONE, DIFFERENT = range(2)
_COMPARED_BELOW = 1 << 21
_COMPARED_TENSORS = 1000


def pack(options: argparse.Namespace) -> int:
    """Pack a checkpoint, show the report and what goes further."""
    from .checkpoints.left_out import left_out_lines, left_out_table
    from .console import tables
    from .console.advice import advice
    from .console.source_options import open_source, recipe_for
    from .container.container import MAGIC
    from .pack import pack as packing
    from .report import alternatives
    from .report.archive import Archive

    recipe = _recipe(options)
    with input_path(options.source) as source, output_path(_pack_dest(options)) as dest:
        _refuse_same(source, dest)
        if not options.force:
            _refuse_overwriting(dest, MAGIC, "a .dcz file; use --force to replace it")
        with open_source(source, options) as checkpoint:
            with located(file=str(options.recipe) if options.recipe else None):
                recipe.check_patterns(list(checkpoint.tensors))
            total = sum(info.nbytes for info in checkpoint.tensors.values())
            with Progress("packing", total) as progress:
                report = packing.pack(
                    checkpoint,
                    dest,
                    recipe_for(checkpoint, recipe),
                    jobs=options.jobs,
                    progress=progress,
                    notes=dict(options.note),
                )
            beside, told = left_out_table(checkpoint), left_out_lines(checkpoint)
        few = len(report.tensors) <= _COMPARED_TENSORS
        small = few and os.path.getsize(source) <= _COMPARED_BELOW
        if options.compare or small:
            with Archive(dest) as archive:
                sizes = {alternatives.INDICES: alternatives.compress_indices(archive)}
            with Progress("zstd -19", os.path.getsize(source)) as progress:
                sizes[alternatives.SOURCE] = alternatives.compress_source(source, progress)
            report = dataclasses.replace(report, alternatives=sizes)
    out = sys.stderr if _pack_dest(options) == "-" else sys.stdout
    if options.json:
        _print_json(report.to_dict() | beside, out)
        return DONE
    tables.show(tables.report_view(report), out)
    print(advice(recipe, report), file=out)
    print(*told, sep="\n", end="\n" * bool(told), file=out)
    if _pack_dest(options) != "-":
        print(f"wrote {printable(_pack_dest(options))}", file=out)
    return DONE


def _pack_dest(options: argparse.Namespace) -> str:
    if options.dest is not None:
        return str(options.dest)
    return "-" if options.source == "-" else str(_without_ending(options.source)) + ".dcz"


def _without_ending(path: str) -> Path:
    stem, sharded = Path(path), ".safetensors.index.json"
    if stem.name.endswith(sharded):
        return stem.with_name(stem.name.removesuffix(sharded))
    return stem.with_suffix("")


def _refuse_same(source: str, dest: str) -> None:
    if os.path.exists(dest) and os.path.samefile(source, dest):
        raise RecipeError("is the input too, which is never changed; choose another", file=dest)


def _refuse_overwriting(dest: str, start: bytes, kind: str) -> None:
    if not os.path.isfile(dest) or os.path.getsize(dest) == 0:
        return
    with open(dest, "rb") as stream:
        if stream.read(len(start)) != start:
            raise RecipeError(f"exists and is not {kind}", file=dest)


def _recipe(options: argparse.Namespace) -> Recipe:
    from ..codec.rate.recipe import Recipe

    table: dict[str, Any] = {}
    with located(file=str(options.recipe) if options.recipe else None):
        if options.recipe is not None:
            try:
                table = tomllib.loads(options.recipe.read_text(encoding="utf-8-sig"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise RecipeError(f"not a TOML file: {error}") from None
            Recipe.from_dict(table)
    for name in _OPTIONS:
        value = getattr(options, name)
        if value is not None:
            for other in _REPLACES.get(name, ()):
                if getattr(options, other) is None:
                    table.pop(other, None)
            table[name] = value
    return Recipe.from_dict(table)


_OPTIONS = (
    "preset",
    "sparsity",
    "threshold",
    "scope",
    "bits",
    "levels",
    "max_error",
    "error_of",
    "target_ratio",
    "target_size",
    "quantizer",
    "initialisation",
    "states",
    "coder",
    "calibration",
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


def unpack(options: argparse.Namespace) -> int:
    """Unpack a `.dcz` file into a checkpoint."""
    from .checkpoints.registry import WRITERS, format_of_ending
    from .pack import unpack as pack_unpack
    from .report.archive import Archive

    dest = options.dest or _unpack_dest(options.source)
    if dest != "-" and format_of_ending(dest) not in WRITERS:
        raise RecipeError("use .safetensors, .pt or .npz as the ending", file=dest)
    if os.path.isfile(dest) and not options.force:
        raise RecipeError("exists; use --force to replace it", file=dest)
    with input_path(options.source) as source:
        _refuse_same(source, dest)
        with Archive(source, limits=options.limits) as archive:
            names = [options.tensor] if options.tensor else list(archive)
            if options.tensor is not None and options.tensor not in archive:
                raise RecipeError("no such tensor", file=source, tensor=options.tensor)
            total = sum(archive.info(name).nbytes for name in names)
        with output_path(dest, ".safetensors") as target, Progress("unpacking", total) as progress:
            pack_unpack.unpack(
                source,
                target,
                jobs=options.jobs,
                tensor=options.tensor,
                limits=options.limits,
                progress=progress,
            )
    if options.json:
        out = sys.stderr if dest == "-" else sys.stdout
        _print_json({"file": dest, "tensors": len(names), "bytes": total}, out)
    return DONE


def _unpack_dest(source: str) -> str:
    return "-" if source == "-" else str(Path(source).with_suffix(".safetensors"))


def inspect(options: argparse.Namespace) -> int:
    """List the tensors of any supported file from its headers."""
    from .checkpoints.dcz import DczCheckpoint
    from .checkpoints.left_out import left_out_lines, left_out_table, prefix_lines
    from .checkpoints.pytorch.structure import STRUCTURE_KEY
    from .checkpoints.registry import open_checkpoint
    from .console.listing import listing

    chosen = {"limits": options.limits, "key": options.key}
    with input_path(options.source) as source, open_checkpoint(source, **chosen) as checkpoint:
        archive = checkpoint.archive if isinstance(checkpoint, DczCheckpoint) else None
        rows = []
        for name, info in checkpoint.tensors.items():
            tie = checkpoint.ties.get(name)
            coder = archive.coder(name) if archive is not None else ""
            rows.append((info, f"= {tie}" if tie else coder))
        if options.json:
            table = _listing(checkpoint.format, source, rows, checkpoint.metadata)
            _print_json(table | {"file": options.source} | left_out_table(checkpoint))
        else:
            hidden = {STRUCTURE_KEY: "kept: unpack to .pt for everything"}
            shown = {name: hidden.get(name, text) for name, text in checkpoint.metadata.items()}
            print(listing(rows, shown.items()))
            lines = left_out_lines(checkpoint, len(checkpoint.left_out))
            for line in [*lines, *prefix_lines(checkpoint)]:
                print(line)
    return DONE


def _listing(kind: str, path: str, rows: list[Any], metadata: dict[str, str]) -> dict[str, Any]:
    return {
        "file": path,
        "format": kind,
        "file_bytes": os.path.getsize(path),
        "metadata": metadata,
        "tensors": [
            {
                "name": info.name,
                "shape": list(info.shape),
                "dtype": info.dtype.name,
                "numel": info.numel,
                "coder": remark,
            }
            for info, remark in rows
        ],
    }


def report(options: argparse.Namespace) -> int:
    """Show stages, streams and entropies of a `.dcz` file, or a checkpoint's sweep."""
    if options.sweep:
        return _sweep(options)
    from .console import tables
    from .report import alternatives
    from .report.archive import Archive

    if options.dest is not None:
        raise RecipeError("-o is for the picture of --sweep; a report's page is --html OUT")
    if options.html is not None:
        _refuse_overwriting(str(options.html), tables.PAGE_START, "a page; choose another name")
    limits = options.limits
    with input_path(options.source) as source, Archive(source, limits=limits) as archive:
        report = archive.report()
        sizes = {alternatives.INDICES: alternatives.compress_indices(archive)}
    if options.against is not None:
        with Progress("zstd -19", os.path.getsize(options.against)) as progress:
            sizes[alternatives.SOURCE] = alternatives.compress_source(options.against, progress)
    report = dataclasses.replace(report, alternatives=sizes)
    if options.html is not None:
        tables.write_html(report, options.html)
    if options.json:
        _print_json(report.to_dict())
    elif options.html is None:
        tables.show(tables.report_view(report))
    return DONE


def _sweep(options: argparse.Namespace) -> int:
    """Pack a checkpoint with every preset for several errors, and show what each needs."""
    from ..codec.rate.recipe import PRESETS
    from .checkpoints.registry import open_checkpoint
    from .console import picture, tables
    from .studies import sweep

    if options.html is not None or options.against is not None:
        raise RecipeError("--sweep packs a checkpoint; leave out --html and --against")
    if options.dest is not None:
        start = picture.STARTS.get(Path(options.dest).suffix.lower())
        if start is None:
            raise RecipeError("use .svg or .png as the ending", file=options.dest)
        picture.require_matplotlib()
        _refuse_overwriting(options.dest, start, "a picture; choose another name")
    with input_path(options.source) as source, open_checkpoint(source) as checkpoint:
        total = sum(info.nbytes for info in checkpoint.tensors.values())
        points = len(PRESETS) * len(sweep.ERRORS)
        with Progress("packing", points * total) as progress:
            found = sweep.sweep(checkpoint, progress=progress)
    found = dataclasses.replace(found, source=options.source)
    if options.dest is not None:
        picture.write_picture(found, options.dest)
    if options.json:
        _print_json(found.to_dict())
    else:
        tables.show(tables.sweep_view(found))
    return DONE


def _print_json(table: dict[str, Any], stream: IO[str] | None = None) -> None:
    print(json.dumps(_finite(table), allow_nan=False), file=stream or sys.stdout)


def _finite(value: Any) -> Any:
    """The value with null for infinities and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def verify(options: argparse.Namespace) -> int:
    """Check a `.dcz` file, alone or against its source."""
    from .pack import pack as packing
    from .report.archive import Archive

    choices = {"jobs": options.jobs, "limits": options.limits}
    with input_path(options.source) as source, Archive(source, **choices) as archive:
        total = sum(archive.info(name).nbytes for name in archive)
        with Progress("verifying", total) as progress:
            packing.verify(archive, progress)
        if options.against is not None:
            return _verify_against(options, source)
        checked = {"file": options.source, "frames": archive.frames, "tensors": len(archive)}
        checked |= {"bytes": total, "ok": True}
    if options.json:
        _print_json(checked)
    else:
        place = "standard input" if source != options.source else printable(source)
        print(
            f"{place}: checksums of the index and of {archive.frames} frames, "
            f"digests of {len(archive)} tensors of {total:,} bytes: all match"
        )
    return DONE


def _verify_against(options: argparse.Namespace, source: str) -> int:
    from .checkpoints.dcz import DczCheckpoint
    from .console import tables
    from .console.source_options import open_source
    from .report import compare
    from .report.archive import Archive

    with (
        open_source(options.against, options) as original,
        DczCheckpoint(source, options.limits) as packed,
    ):
        total = sum(info.nbytes for info in original.tensors.values())
        with Progress("comparing", total) as progress:
            differences = compare.compare(original, packed, progress)
        wrong = compare.unexpected(packed.archive, differences)
    with Archive(source, limits=options.limits) as archive:
        report = compare.measured(archive.report(), differences)
    if options.json:
        _print_json(report.to_dict() | {"ok": not wrong, "wrong": [d.name for d in wrong]})
    else:
        tables.show(tables.comparison(differences))
        tables.show(tables.summary(report))
        for difference in wrong:
            print(f"{printable(difference.name)}: {difference.status}, and should not be")
        if not wrong:
            exact = sum(d.status == "equal" for d in differences)
            print(f"verified: {exact} tensors exact, {len(differences) - exact} within their error")
    return DIFFERENT if wrong else DONE


def diff(options: argparse.Namespace) -> int:
    """Compare two files of any supported format."""
    from .checkpoints.registry import open_checkpoint
    from .console import tables
    from .report import compare

    limits = options.limits
    with (
        open_checkpoint(options.first, limits) as first,
        open_checkpoint(options.second, limits) as second,
    ):
        total = sum(info.nbytes for info in first.tensors.values())
        with Progress("comparing", total) as progress:
            differences = compare.compare(first, second, progress)
    different = any(d.status != "equal" for d in differences)
    if options.json:
        rows = [dataclasses.asdict(d) | {"relative_error": d.relative_error} for d in differences]
        error = compare.model_error(differences)
        _print_json({"equal": not different, "relative_error": error, "tensors": rows})
    elif different:
        tables.show(tables.comparison(differences))
    else:
        print(f"{len(differences)} tensors, all equal")
    return DIFFERENT if different else DONE


def bench(options: argparse.Namespace) -> int:
    """Time packing and decoding of a file on this machine."""
    from .console import tables
    from .studies import bench as timing

    with input_path(options.source) as source:
        figures = timing.bench(source, runs=max(options.runs, 1), jobs=options.jobs)
    if options.json:
        print(json.dumps([dataclasses.asdict(figure) for figure in figures]))
    else:
        tables.show(tables.timings(figures))
    return DONE
