"""What dcz does to three real checkpoints, checked by calculations of its own.

    python benchmarks/real_checkpoints.py

Each checkpoint is packed, unpacked and verified through the command line with three sets of
options. What comes back is compared with what the checkpoint's own library reads, never with
what dcz says about itself. Everything runs on one core. The results are written to
`real_checkpoints.md` and `real_checkpoints.json` beside this script; the exit code is 1 when
a check fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import checkpoints
import independent
import numpy as np
import timing
from independent import Arrays, Bound
from results import markdown

import dcz

DCZ = (sys.executable, "-m", "dcz")
RUNS = {
    "default": (),
    "5 bits": ("--bits", "5"),
    "sparsity 0.9, 5 bits": ("--sparsity", "0.9", "--bits", "5"),
}
# 2,310,000 bytes for the 4,608,992 weights of efficientnet-lite0, the others in proportion.
MOST_BITS_PER_WEIGHT = 2_310_000 * 8 / 4_608_992
LEAST_RATIO = {"craft": 37.0}
LONG_STREAM = 100_000
DEFAULT_ERROR = 3e-4
HEAVY = ("torch", "sklearn", "scipy")


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, what was measured, and the limit it is held to."""

    what: str
    measured: float
    limit: float
    kept: bool


@dataclass(slots=True)
class Measured:
    """One checkpoint packed with one set of options."""

    checkpoint: str
    run: str
    options: list[str]
    source_bytes: int
    file_bytes: int
    ratio: float
    relative_error: float
    weight_bytes: float
    worst_stream: float
    checks: list[Check] = field(default_factory=list)


def at_most(what: str, measured: float, limit: float) -> Check:
    """Return the check that a figure does not exceed its limit."""
    return Check(what, measured, limit, measured <= limit)


def at_least(what: str, measured: float, limit: float) -> Check:
    """Return the check that a figure reaches its limit."""
    return Check(what, measured, limit, measured >= limit)


def call(*arguments: str | Path) -> Any:
    """Run dcz as a user would; return what it prints as JSON. Raises where it fails."""
    done = subprocess.run([*DCZ, *arguments], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout) if "--json" in arguments else None


def differing(source: Arrays, decoded: Arrays) -> set[str]:
    """Return the names of tensors that did not come back bit for bit, shape and dtype too."""
    same = {
        name
        for name, array in source.items()
        if name in decoded
        and (array.dtype, array.shape) == (decoded[name].dtype, decoded[name].shape)
        and array.tobytes() == decoded[name].tobytes()
    }
    return (source.keys() | decoded.keys()) - same


def count_broken(source: Arrays, decoded: Arrays, report: dict[str, Any]) -> int:
    """Count tensors that changed although they are not weights or are reported as unchanged."""
    exact = {each["name"] for each in report["tensors"] if not each["relative_error"]}
    return sum(
        name in exact or name not in source or not independent.is_weight(source[name])
        for name in differing(source, decoded)
    )


def worst_dense_stream(decoded: Arrays, report: dict[str, Any]) -> float:
    """Return the greatest coded bits / order-0 entropy of the long dense streams, 0.0 if none.

    The entropy is that of the decoded values; the coded bits include the code's table.
    """
    excess = [0.0]
    for each in report["tensors"]:
        if each["coder"] != "huffman-dense" or each["numel"] <= LONG_STREAM:
            continue
        bound = independent.stream_entropy_bits(decoded[each["name"]])
        coded = sum(stream["coded_bits"] for stream in each["streams"])
        if bound > 0:  # a tensor that was pruned to nothing has no bits to compare
            excess.append(coded / bound)
    return max(excess)


def weight_bytes(source: Arrays, report: dict[str, Any]) -> float:
    """Return what the file spends on the weights of two or more dimensions."""
    names = {name for name, array in source.items() if independent.is_weight(array)}
    return float(sum(each["bits"] for each in report["tensors"] if each["name"] in names) / 8)


def measure(name: str, path: Path, source: Arrays, run: str, scratch: Path) -> Measured:
    """Pack, verify and unpack one checkpoint; compare everything with the original."""
    options = list(RUNS[run])
    packed, unpacked = scratch / f"{name}.dcz", scratch / f"{name}.safetensors"
    report = call("pack", path, "-o", packed, "--force", "--json", *options)
    verified = call("verify", packed, "--against", path, "--json")
    call("unpack", packed, "-o", unpacked)
    decoded = dict(dcz.load_file(packed))
    error = independent.relative_error(source, decoded)
    size = packed.stat().st_size
    result = Measured(
        checkpoint=name,
        run=run,
        options=options,
        source_bytes=path.stat().st_size,
        file_bytes=size,
        ratio=path.stat().st_size / size,
        relative_error=error,
        weight_bytes=weight_bytes(source, report),
        worst_stream=worst_dense_stream(decoded, report),
    )
    unlike = len(differing(decoded, checkpoints.load(unpacked)))
    result.checks = [
        at_most("tensors that changed and must not", count_broken(source, decoded, report), 0),
        at_most("tensors that unpack gives otherwise than load_file", unlike, 0),
        at_most("pack's relative error, difference", apart(report["relative_error"], error), 1e-6),
        at_most("verify's, difference", apart(verified["relative_error"], error), 1e-6),
        at_most("file_bytes, difference", abs(report["file_bytes"] - size), 0),
        at_most("coded bits / order-0 entropy, dense", result.worst_stream, 1.015),
        *promises(result, source, report),
    ]
    unpacked.unlink()
    return result


def apart(reported: float, computed: float) -> float:
    """Return the relative difference of two figures."""
    return abs(reported - computed) / computed if computed else abs(reported)


def promises(result: Measured, source: Arrays, report: dict[str, Any]) -> list[Check]:
    """Return the checks that belong to one set of options."""
    if result.run == "default":
        return [at_most("error of the layers", report["counted_error"], DEFAULT_ERROR)]
    if result.run == "5 bits":
        count = sum(values.size for values in independent.weights(source))
        limit = MOST_BITS_PER_WEIGHT * count / 8
        return [at_most("bytes of weights", result.weight_bytes, limit)]
    least = LEAST_RATIO.get(result.checkpoint)
    return [] if least is None else [at_least("ratio", result.ratio, least)]


def bounds(source: Arrays) -> dict[str, Bound]:
    """Return this script's own figures for 5 bits, dense and at sparsity 0.9."""
    return {
        "k-means, 60 steps from the linear start, and Huffman": independent.shared_and_huffman(
            source, 5, independent.PAPER
        ),
        "k-means of least error and Huffman": independent.shared_and_huffman(
            source, 5, independent.LEAST_ERROR
        ),
        "sparsity 0.9, k-means from the linear start, order-0 entropy": independent.pruned_order0(
            source, 0.9, 5, independent.PAPER_SETTLED
        ),
        "sparsity 0.9, k-means of least error, order-0 entropy": independent.pruned_order0(
            source, 0.9, 5, independent.LEAST_ERROR
        ),
    }


def time_stages(path: Path, scratch: Path, rounds: int) -> dict[str, float]:
    """Return the seconds of pack at 5 bits and unpack, and of zstd on the same file.

    dcz runs as a command, with Python's start in its time, and inside this program.
    """
    packed, zipped = scratch / "timed.dcz", scratch / "timed.zst"
    restored = scratch / "timed.out"
    unpacked = scratch / "timed.safetensors"
    recipe = dcz.Recipe(bits=5)
    commands: dict[str, timing.Command] = {
        "pack": [*DCZ, "pack", path, "-o", packed, "--force", "--bits", "5", "--jobs", "1"],
        "zstd -3": ["zstd", "-3", "-q", "-f", path, "-o", zipped],
        "unpack": [*DCZ, "unpack", packed, "-o", unpacked, "--force", "--jobs", "1"],
        "zstd -d": ["zstd", "-d", "-q", "-f", zipped, "-o", restored],
    }

    contestants = {name: timing.running(command) for name, command in commands.items()}
    contestants["pack in a program"] = lambda: dcz.pack(path, packed, recipe)
    contestants["unpack in a program"] = lambda: dcz.unpack(packed, unpacked)
    return timing.interleaved(contestants, rounds)


def speed_checks(seconds: dict[str, float]) -> list[Check]:
    """Return the checks on times in a program, each a ratio to zstd in the same run."""
    pack = seconds["pack in a program"] / seconds["zstd -3"]
    unpack = seconds["unpack in a program"] / seconds["zstd -d"]
    return [
        at_most("pack at 5 bits / zstd -3", pack, 3.0),
        at_most("unpack / zstd -d", unpack, 1.0),
    ]


def start_checks(packed: Path, rounds: int) -> list[Check]:
    """Return the checks on how fast the command starts and on what it imports."""
    commands = {"dcz --version": ["--version"], "dcz inspect": ["inspect", str(packed)]}
    checks = []
    for name, arguments in commands.items():
        contestant = timing.running([*DCZ, *arguments])
        seconds = timing.interleaved({name: contestant}, rounds)[name]
        checks.append(at_most(f"{name}, seconds", seconds, 0.25))
        checks.append(at_most(f"{name}, heavy imports", count_heavy_imports(arguments), 0))
    return checks


def count_heavy_imports(arguments: Sequence[str]) -> int:
    """Count the large libraries that a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "dcz", *arguments]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines}
    return sum(library in imported for library in HEAVY)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure dcz on real checkpoints.")
    names = list(checkpoints.SOURCES)
    parser.add_argument("--only", choices=names, nargs="+", default=names)
    parser.add_argument("--rounds", type=int, default=5, help="timed repetitions")
    here = Path(__file__).parent
    parser.add_argument("-o", "--output", type=Path, default=here, help="folder of the results")
    return parser.parse_args(arguments)


def examine(name: str, scratch: Path, rounds: int) -> dict[str, Any]:
    """Return everything that is measured of one checkpoint, as it goes into the JSON file."""
    path = checkpoints.fetch(name)
    source = checkpoints.load(path)
    runs = [measure(name, path, source, run, scratch) for run in RUNS]
    seconds = time_stages(path, scratch, rounds)
    return {
        "name": name,
        "source_bytes": path.stat().st_size,
        "weights": sum(values.size for values in independent.weights(source)),
        "runs": [asdict(run) for run in runs],
        "independent": {what: bound.figures() for what, bound in bounds(source).items()},
        "seconds": seconds,
        "checks": [asdict(check) for check in speed_checks(seconds)],
    }


def main() -> int:
    """Measure, write both files, print the table; return 1 when a check fails."""
    options = parse()
    timing.run_on_one_core()
    if shutil.which("zstd") is None:
        raise SystemExit("the zstd command is needed to compare with")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        measured = [examine(name, scratch, options.rounds) for name in options.only]
        start = [asdict(each) for each in start_checks(scratch / "timed.dcz", options.rounds)]
    version = subprocess.run([*DCZ, "--version"], check=True, capture_output=True, text=True)
    result = {
        "dcz": version.stdout.strip(),
        "machine": timing.machine(),
        "numpy": np.__version__,
        "checkpoints": measured,
        "start": start,
    }
    (options.output / "real_checkpoints.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (options.output / "real_checkpoints.md").write_text(text)
    print(text)
    return 0 if all(check["kept"] for check in all_checks(result)) else 1


def all_checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every check of the results."""
    checks: list[dict[str, Any]] = list(result["start"])
    for each in result["checkpoints"]:
        checks += each["checks"]
        for run in each["runs"]:
            checks += run["checks"]
    return checks


if __name__ == "__main__":
    sys.exit(main())
