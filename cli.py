"""The command line: its arguments and exit codes; `formats/commands.py` does the work."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from .codec.errors import DczError, RecipeError
from .formats import commands
from .formats.container.limits import DEFAULT_LIMITS, parse_limits
from .formats.terminal import printable

Run: TypeAlias = Callable[[argparse.Namespace], int]

USAGE, BAD_INPUT, IO_FAILURE = range(2, 5)

_EXAMPLES = """\
examples:
  dcz pack model.safetensors                       error at most 3e-4, nothing pruned
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
  dcz report --sweep model.safetensors -o curve.svg
"""
_VERIFY_EXAMPLES = """\
examples:
  dcz verify model.dcz                             checksums and digests
  dcz verify model.dcz --against model.safetensors the error of each tensor too

exits with 1 if a tensor is missing, changed or further off than the file says
"""
_BENCH_EXAMPLES = """\
examples:
  dcz bench model.safetensors                      packing at 5 bits, and decoding
  dcz bench model.dcz --runs 9 --jobs 1            decoding alone, on one core
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
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_pack(subparsers)
    _add_unpack(subparsers)
    _add_inspect(subparsers)
    _add_report(subparsers)
    _add_verify(subparsers)
    _add_diff(subparsers)
    _add_bench(subparsers)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from . import __version__
        from .codec.kernels import BACKEND

        print(f"dcz {__version__} ({BACKEND} backend)")
        parser.exit()


def _command(
    subparsers: Any, name: str, run: Run, text: str, epilog: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
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


def _add_limits(parser: argparse.ArgumentParser) -> None:
    text = "what a .dcz file may declare, as total_bytes=8G; may be repeated"
    parser.add_argument(
        "--limit",
        dest="limits",
        metavar="NAME=N",
        action=_Limits,
        default=DEFAULT_LIMITS,
        help=text,
    )


class _Limits(argparse.Action):
    """Puts the limits given so far and one more into a `DecodeLimits`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        given = [*getattr(namespace, "given_limits", []), values]
        namespace.given_limits = given
        try:
            namespace.limits = parse_limits(given)
        except ValueError as error:
            parser.error(f"{option}: {error}")


def _add_source(parser: argparse.ArgumentParser) -> None:
    _add_key(parser)
    text = "a PyTorch file with its optimizer and counters, which unpack -o OUT.pt gives back"
    parser.add_argument("--everything", action="store_true", help=text)
    text = "take module. and _orig_mod. off the names"
    parser.add_argument("--strip-prefix", action="store_true", help=text)


def _add_key(parser: argparse.ArgumentParser) -> None:
    text = "which part of a PyTorch file, as model_ema or callbacks.0.weights (default: its model)"
    parser.add_argument("--key", metavar="KEY", help=text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _note(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _add_pack(subparsers: Any) -> None:
    parser = _command(subparsers, "pack", commands.pack, "pack a checkpoint", _PACK_EXAMPLES)
    add = parser.add_argument
    add("source", metavar="SRC", help=".safetensors, .pt, .pth, .npz, or - for standard input")
    add("-o", dest="dest", metavar="OUT", help="file to write (default: SRC's name as .dcz)")
    add(
        "--preset",
        metavar="P",
        help="balanced: small at equal error, quick to decode (the default); max: smallest, and "
        "slow; paper: k-means and Huffman coding, which --bits and --levels choose too",
    )
    add("--sparsity", type=float, metavar="F", help="share of the weights to prune, 0 to 1")
    add("--threshold", type=float, metavar="T", help="prune weights of smaller magnitude instead")
    add(
        "--scope",
        metavar="S",
        help="lamp (default): by a score that scales do not change; global: one threshold; "
        "tensor: one for each",
    )
    add("--bits", type=int, metavar="N", help="index bits: 2**N shared values, 1 to 16")
    add("--levels", type=int, metavar="K", help="number of shared values instead of --bits")
    add("--max-error", type=float, metavar="E", help="relative squared error (default: 3e-4)")
    add(
        "--error-of",
        metavar="W",
        help="layers: the mean of the tensors' relative errors, counted by their roles (default); "
        "model: all squared errors over all squares",
    )
    add("--target-ratio", type=float, metavar="R", help="how many times smaller, instead")
    add("--target-size", type=int, metavar="BYTES", help="size of the file, instead")
    add("--quantizer", metavar="Q", help="kmeans, grid, trellis or lossless; overrides the preset")
    add("--initialisation", metavar="I", help="best (default), optimal, linear, density or random")
    add("--states", type=int, metavar="N", help="of a trellis: 4, 8, 16, 32 or 64 (default)")
    add("--coder", metavar="C", help="huffman, auto or mixed (default: by quantizer)")
    add("--recipe", type=Path, metavar="FILE", help="TOML file with these settings by tensor name")
    add("--calibration", metavar="FILE", help="of dcz.calibration.collect: errors of the output")
    add(
        "--note",
        type=_note,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="kept in the file and shown in reports, such as test_error=0.0153; may be repeated",
    )
    _add_source(parser)
    add("--compare", action="store_true", help="also measure the source through zstd -19 (slow)")
    add("--force", action="store_true", help="replace an existing file that is not a .dcz file")
    _add_jobs(parser)


def _add_unpack(subparsers: Any) -> None:
    text = "unpack a .dcz file into a checkpoint"
    parser = _command(subparsers, "unpack", commands.unpack, text, _UNPACK_EXAMPLES)
    parser.add_argument("source", metavar="FILE", help="the .dcz file, or - for standard input")
    parser.add_argument(
        "-o", dest="dest", metavar="OUT", help="a .safetensors (default), .pt or .npz file"
    )
    parser.add_argument("--tensor", metavar="NAME", help="unpack this tensor only")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    _add_limits(parser)
    _add_jobs(parser)


def _add_inspect(subparsers: Any) -> None:
    text = "list the tensors of any supported file"
    parser = _command(subparsers, "inspect", commands.inspect, text, _INSPECT_EXAMPLES)
    parser.add_argument("source", metavar="FILE")
    _add_key(parser)
    _add_limits(parser)


def _add_report(subparsers: Any) -> None:
    text = "show stages, streams and entropies"
    parser = _command(subparsers, "report", commands.report, text, _REPORT_EXAMPLES)
    add = parser.add_argument
    add("source", metavar="FILE", help="the .dcz file; with --sweep a checkpoint")
    add("--html", metavar="OUT", type=Path, help="write a page instead")
    add("--against", metavar="SRC", help="also measure SRC through zstd -19 (slow)")
    add("--sweep", action="store_true", help="pack a checkpoint by every preset for several errors")
    add("-o", dest="dest", metavar="OUT", help="with --sweep: also draw a picture, .svg or .png")
    _add_limits(parser)


def _add_verify(subparsers: Any) -> None:
    text = "check a .dcz file, alone or against its source"
    parser = _command(subparsers, "verify", commands.verify, text, _VERIFY_EXAMPLES)
    parser.add_argument("source", metavar="FILE", help="the .dcz file")
    parser.add_argument("--against", metavar="SRC", help="the checkpoint it was packed from")
    _add_source(parser)
    _add_limits(parser)
    _add_jobs(parser)


def _add_diff(subparsers: Any) -> None:
    text = "compare two files of any supported format"
    parser = _command(subparsers, "diff", commands.diff, text, _DIFF_EXAMPLES)
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    _add_limits(parser)


def _add_bench(subparsers: Any) -> None:
    text = "time packing and decoding of a file here"
    parser = _command(subparsers, "bench", commands.bench, text, _BENCH_EXAMPLES)
    parser.add_argument("source", metavar="FILE", help="a .dcz file or a checkpoint")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="default: 5")
    _add_jobs(parser)
