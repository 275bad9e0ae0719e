"""The command line: parses arguments, calls the library and prints."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from dcz.codec.errors import DczError, RecipeError, located
from dcz.formats.terminal import Progress, input_path, output_path, printable

DONE, DIFFERENT, USAGE, BAD_INPUT, IO_FAILURE = range(5)

_EXAMPLES = """\
examples:
  dcz pack model.safetensors                       error at most 1e-3, nothing pruned
  dcz pack model.pt --sparsity 0.9 --bits 5        the recipe of Deep Compression
  dcz unpack model.dcz -o model.safetensors
  dcz report model.dcz                             where every bit went
  dcz verify model.dcz --against model.safetensors
"""
_PACK_EXAMPLES = """\
examples:
  dcz pack model.safetensors                       writes model.dcz
  dcz pack model.pt -o small.dcz --sparsity 0.9 --bits 5
  dcz pack model.npz --max-error 1e-4 --json
  dcz pack model.pt --recipe layers.toml           settings by tensor name
  cat model.safetensors | dcz pack - -o -          from standard input to standard output

a recipe file:
  sparsity = 0.9
  bits = 5
  [[tensor]]
  pattern = "*.embeddings.*"
  bits = 8
"""
_UNPACK_EXAMPLES = """\
examples:
  dcz unpack model.dcz                             writes model.safetensors
  dcz unpack model.dcz -o model.pt
  dcz unpack model.dcz -o one.npz --tensor encoder.weight
  cat model.dcz | dcz unpack - -o -                safetensors to standard output
"""
_INSPECT_EXAMPLES = """\
examples:
  dcz inspect model.dcz
  dcz inspect model.pt --json
"""
_REPORT_EXAMPLES = """\
examples:
  dcz report model.dcz
  dcz report model.dcz --against model.safetensors
  dcz report model.dcz --html report.html
"""
_VERIFY_EXAMPLES = """\
examples:
  dcz verify model.dcz                             checksums and digests
  dcz verify model.dcz --against model.safetensors the error of each tensor too

exits with 1 if a tensor is missing, changed or further off than the file says
"""
_DIFF_EXAMPLES = """\
examples:
  dcz diff before.safetensors after.safetensors
  dcz diff model.pt model.dcz --json

exits with 1 if the files differ
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done; 1 a verify or diff found a difference; 2 wrong usage; 3 the input is corrupt,
    unsupported or over a limit; 4 could not read or write.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the encoding cannot show is escaped: it comes from a file and must not stop us.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except RecipeError as error:
        return _fail(str(error), USAGE)
    except DczError as error:
        return _fail(str(error), BAD_INPUT)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - keeps the interpreter's flush quiet
        return IO_FAILURE
    except OSError as error:
        place = f"{error.filename or repr('')}: " if error.filename is not None else ""
        return _fail(f"{place}{error.strerror or error}", IO_FAILURE)
    except MemoryError:
        return _fail("not enough memory", IO_FAILURE)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def _fail(message: str, code: int) -> int:
    print(f"dcz: {printable(message)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dcz",
        description="Packs a neural network's checkpoint into a small file and gives it back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print version and backend")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_pack(commands)
    _add_unpack(commands)
    _add_inspect(commands)
    _add_report(commands)
    _add_verify(commands)
    _add_diff(commands)
    _add_bench(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from dcz import BACKEND, __version__

        print(f"dcz {__version__} ({BACKEND} backend)")
        parser.exit()


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=_count, metavar="N", help="threads (default: all cores)")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _add_pack(commands: Any) -> None:
    parser = _command(commands, "pack", _pack, "pack a checkpoint", _PACK_EXAMPLES)
    add = parser.add_argument
    add("source", metavar="SRC", help=".safetensors, .pt, .pth, .npz, or - for standard input")
    add("-o", dest="dest", metavar="OUT", help="file to write (default: SRC's name as .dcz)")
    add("--preset", choices=("paper",), help="paper: k-means and Huffman coding (the default)")
    add("--sparsity", type=float, metavar="F", help="share of the weights to prune, 0 to 1")
    add("--threshold", type=float, metavar="T", help="prune weights of smaller magnitude instead")
    add("--scope", metavar="S", help="global (default): one threshold; tensor: one for each")
    add("--bits", type=int, metavar="N", help="index bits: 2**N shared values, 1 to 16")
    add("--levels", type=int, metavar="K", help="number of shared values instead of --bits")
    add("--max-error", type=float, metavar="E", help="relative squared error (default: 1e-3)")
    add("--quantizer", metavar="Q", help="kmeans (default) or lossless")
    add("--initialisation", metavar="I", help="best (default), optimal, linear, density or random")
    add("--coder", metavar="C", help="huffman")
    add("--recipe", type=Path, metavar="FILE", help="TOML file with these settings by tensor name")
    add("--compare", action="store_true", help="also measure the source through zstd -19 (slow)")
    add("--force", action="store_true", help="replace an existing file that is not a .dcz file")
    _add_jobs(parser)


def _add_unpack(commands: Any) -> None:
    text = "unpack a .dcz file into a checkpoint"
    parser = _command(commands, "unpack", _unpack, text, _UNPACK_EXAMPLES)
    parser.add_argument("source", metavar="FILE", help="the .dcz file, or - for standard input")
    parser.add_argument(
        "-o", dest="dest", metavar="OUT", help="a .safetensors (default), .pt or .npz file"
    )
    parser.add_argument("--tensor", metavar="NAME", help="unpack this tensor only")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    _add_jobs(parser)


def _add_inspect(commands: Any) -> None:
    text = "list the tensors of any supported file"
    parser = _command(commands, "inspect", _inspect, text, _INSPECT_EXAMPLES)
    parser.add_argument("source", metavar="FILE")


def _add_report(commands: Any) -> None:
    text = "show stages, streams and entropies"
    parser = _command(commands, "report", _report, text, _REPORT_EXAMPLES)
    parser.add_argument("source", metavar="FILE", help="the .dcz file")
    parser.add_argument("--html", metavar="OUT", type=Path, help="write a page instead")
    parser.add_argument("--against", metavar="SRC", help="also measure SRC through zstd -19 (slow)")


def _add_verify(commands: Any) -> None:
    text = "check a .dcz file, alone or against its source"
    parser = _command(commands, "verify", _verify, text, _VERIFY_EXAMPLES)
    parser.add_argument("source", metavar="FILE", help="the .dcz file")
    parser.add_argument("--against", metavar="SRC", help="the checkpoint it was packed from")
    _add_jobs(parser)


def _add_diff(commands: Any) -> None:
    text = "compare two files of any supported format"
    parser = _command(commands, "diff", _diff, text, _DIFF_EXAMPLES)
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")


def _add_bench(commands: Any) -> None:
    parser = _command(commands, "bench", _bench, "time packing and decoding of a file here")
    parser.add_argument("source", metavar="FILE", help="a .dcz file or a checkpoint")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="default: 5")
    _add_jobs(parser)


def _pack(options: argparse.Namespace) -> int:
    from dcz.formats import alternatives, tables
    from dcz.formats.archive import Archive
    from dcz.formats.checkpoint import open_checkpoint
    from dcz.formats.container import MAGIC
    from dcz.formats.packing import pack

    recipe = _recipe(options)
    with input_path(options.source) as source, output_path(_pack_dest(options)) as dest:
        _refuse_same(source, dest)
        if not options.force:
            _refuse_overwriting(dest, MAGIC, "a .dcz file; use --force to replace it")
        with open_checkpoint(source) as checkpoint:
            with located(file=str(options.recipe) if options.recipe else None):
                recipe.check_patterns(list(checkpoint.tensors))
            total = sum(info.nbytes for info in checkpoint.tensors.values())
            with Progress("packing", total) as progress:
                report = pack(checkpoint, dest, recipe, jobs=options.jobs, progress=progress)
        small = os.path.getsize(source) <= _COMPARED_BELOW
        if options.compare or small:
            with Archive(dest) as archive:
                sizes = {alternatives.INDICES: alternatives.compress_indices(archive)}
            with Progress("zstd -19", os.path.getsize(source)) as progress:
                sizes[alternatives.SOURCE] = alternatives.compress_source(source, progress)
            report = dataclasses.replace(report, alternatives=sizes)
    out = sys.stderr if _pack_dest(options) == "-" else sys.stdout
    if options.json:
        _print_json(report.to_dict(), out)
        return DONE
    tables.show(tables.report_view(report), out)
    print(_advice(options, recipe), file=out)
    return DONE


_COMPARED_BELOW = 1 << 23


def _advice(options: argparse.Namespace, recipe: Any) -> str:
    """What was done, and what goes further."""
    aimed = recipe.bits is None and recipe.levels is None and recipe.quantizer != "lossless"
    kept = "" if recipe.sparsity or recipe.threshold else "Nothing was pruned but exact zeros. "
    if not aimed:
        return kept + "`dcz report` shows this table again."
    return (
        f"{kept}Levels were chosen for a relative squared error of at most {recipe.max_error:g}.\n"
        "Go further with --bits 5 (fewer shared values), --sparsity 0.9 (prune; retrain after it),"
        " --max-error 1e-2, or --recipe FILE for settings by tensor."
    )


def _pack_dest(options: argparse.Namespace) -> str:
    if options.dest is not None:
        return str(options.dest)
    return "-" if options.source == "-" else str(_without_ending(options.source)) + ".dcz"


def _without_ending(path: str) -> Path:
    stem = Path(path)
    for ending in (".safetensors.index.json", ".index.json"):
        if stem.name.endswith(ending):
            return stem.with_name(stem.name.removesuffix(ending))
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


def _recipe(options: argparse.Namespace) -> Any:
    from dcz.codec.recipe import Recipe

    table: dict[str, Any] = {}
    with located(file=str(options.recipe) if options.recipe else None):
        if options.recipe is not None:
            try:
                table = tomllib.loads(options.recipe.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise RecipeError(f"not a TOML file: {error}") from None
            Recipe.from_dict(table)
    names = ("sparsity", "threshold", "scope", "bits", "levels", "max_error", "quantizer")
    for name in (*names, "initialisation", "coder"):
        value = getattr(options, name)
        if value is not None:
            for other in _REPLACES.get(name, ()):
                if getattr(options, other) is None:
                    table.pop(other, None)
            table[name] = value
    return Recipe.from_dict(table)


_REPLACES = {
    "bits": ("levels",),
    "levels": ("bits",),
    "sparsity": ("threshold",),
    "threshold": ("sparsity",),
}


def _unpack(options: argparse.Namespace) -> int:
    from dcz.formats.archive import Archive
    from dcz.formats.checkpoint import WRITERS, format_of_ending
    from dcz.formats.packing import unpack

    dest = options.dest or _unpack_dest(options.source)
    if dest != "-" and format_of_ending(dest) not in WRITERS:
        raise RecipeError("use .safetensors, .pt or .npz as the ending", file=dest)
    if dest != "-" and os.path.isfile(dest) and not options.force and options.dest is None:
        raise RecipeError("exists; use --force to replace it", file=dest)
    with input_path(options.source) as source:
        _refuse_same(source, dest)
        with Archive(source) as archive:
            names = [options.tensor] if options.tensor else list(archive)
            if options.tensor is not None and options.tensor not in archive:
                raise RecipeError("no such tensor", file=source, tensor=options.tensor)
            total = sum(archive.info(name).nbytes for name in names)
        with output_path(dest, ".safetensors") as target, Progress("unpacking", total) as progress:
            unpack(source, target, jobs=options.jobs, tensor=options.tensor, progress=progress)
    if options.json:
        out = sys.stderr if dest == "-" else sys.stdout
        _print_json({"file": dest, "tensors": len(names), "bytes": total}, out)
    return DONE


def _unpack_dest(source: str) -> str:
    return "-" if source == "-" else str(Path(source).with_suffix(".safetensors"))


def _inspect(options: argparse.Namespace) -> int:
    from dcz.formats.checkpoint import open_checkpoint
    from dcz.formats.dcz_io import DczCheckpoint
    from dcz.formats.listing import listing

    with input_path(options.source) as source, open_checkpoint(source) as checkpoint:
        archive = checkpoint.archive if isinstance(checkpoint, DczCheckpoint) else None
        rows = []
        for name, info in checkpoint.tensors.items():
            tie = checkpoint.ties.get(name)
            coder = archive.coder(name) if archive is not None else ""
            rows.append((info, f"= {tie}" if tie else coder))
        if options.json:
            table = _listing(checkpoint.format, source, rows, checkpoint.metadata)
            _print_json(table | {"file": options.source})
        else:
            print(listing(rows, checkpoint.metadata.items()))
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


def _report(options: argparse.Namespace) -> int:
    from dcz.formats import alternatives, tables
    from dcz.formats.archive import Archive

    if options.html is not None:
        _refuse_overwriting(str(options.html), tables.PAGE_START, "a page; choose another name")
    with input_path(options.source) as source, Archive(source) as archive:
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


def _print_json(table: dict[str, Any], stream: IO[str] | None = None) -> None:
    print(json.dumps(_finite(table), allow_nan=False), file=stream or sys.stdout)


def _finite(value: Any) -> Any:
    """The value with null for infinities and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verify(options: argparse.Namespace) -> int:
    from dcz.formats.archive import Archive
    from dcz.formats.packing import verify

    with input_path(options.source) as source, Archive(source, jobs=options.jobs) as archive:
        total = sum(archive.info(name).nbytes for name in archive)
        with Progress("verifying", total) as progress:
            verify(archive, progress)
        if options.against is not None:
            return _verify_against(options, source)
        checked = {"file": options.source, "tensors": len(archive), "bytes": total, "ok": True}
    if options.json:
        _print_json(checked)
    else:
        place = "standard input" if source != options.source else printable(source)
        print(f"{place}: {len(archive)} tensors, {total:,} bytes: all checksums and digests match")
    return DONE


def _verify_against(options: argparse.Namespace, source: str) -> int:
    from dcz.formats import compare, tables
    from dcz.formats.checkpoint import open_checkpoint
    from dcz.formats.dcz_io import DczCheckpoint

    with open_checkpoint(options.against) as original, DczCheckpoint(source) as packed:
        total = sum(info.nbytes for info in original.tensors.values())
        with Progress("comparing", total) as progress:
            differences = compare.compare(original, packed, progress)
        wrong = compare.unexpected(packed.archive, differences)
        report = compare.measured(packed.archive.report(), differences)
    if options.json:
        _print_json(report.to_dict() | {"ok": not wrong, "wrong": [d.name for d in wrong]})
    else:
        tables.show(tables.comparison(differences))
        tables.show(tables.summary(report))
        for difference in wrong:
            print(f"{printable(difference.name)}: {difference.status}, and should not be")
    return DIFFERENT if wrong else DONE


def _diff(options: argparse.Namespace) -> int:
    from dcz.formats import compare, tables
    from dcz.formats.checkpoint import open_checkpoint

    with open_checkpoint(options.first) as first, open_checkpoint(options.second) as second:
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


def _bench(options: argparse.Namespace) -> int:
    from dcz.formats import tables
    from dcz.formats.bench import bench

    with input_path(options.source) as source:
        figures = bench(source, runs=max(options.runs, 1), jobs=options.jobs)
    if options.json:
        print(json.dumps([dataclasses.asdict(figure) for figure in figures]))
    else:
        tables.show(tables.timings(figures))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
