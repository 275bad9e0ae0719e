"""How fast dcz is, as ratios measured in the same run, beside the targets.

    python benchmarks/speed.py [--quick] [--only GROUP ...] [--runs N]

Decoding, packing, k-means, two cores, growing data, memory and the start of the command line, on
efficientnet-lite0, MiniLM, CRAFT and on made-up weights. The results are written to `speed.md`
and `speed.json` beside this script. A missed target is printed as no, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import speed_rows_checkpoints as checkpoint_rows
import speed_rows_cores as cores_rows
import speed_rows_decode as decode_rows
import speed_rows_growth as growth_rows
import speed_rows_kernels as kernel_rows
import speed_rows_kmeans as kmeans_rows
import timing
import zstandard
from speed_table import Experiment, page
from workbench import Workbench

import dcz

GROUPS: dict[str, Callable[[Workbench], list[Experiment]]] = {
    # First, as in a new process: later on PyTorch finds memory that others have left it.
    "load": checkpoint_rows.load,
    "dense": decode_rows.dense,
    "sparse": decode_rows.sparse,
    "pack": checkpoint_rows.pack,
    "nncodec": checkpoint_rows.nncodec,
    "cores": cores_rows.cores,
    "threshold": cores_rows.threshold,
    "numpy": decode_rows.numpy_backend,
    "kmeans": kmeans_rows.kmeans,
    "growth": growth_rows.growth,
    "memory": growth_rows.memory_of_checkpoints,
    "kernels": kernel_rows.each_kernel,
    "start": kernel_rows.start,
}
LIBRARIES = ("numpy", "torch", "safetensors", "zstandard", "xxhash")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the speed of dcz.")
    parser.add_argument("--quick", action="store_true", help="smaller data, fewer tensors")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--runs", type=int, default=5, help="rounds of each comparison")
    here = Path(__file__).parent
    parser.add_argument("-o", "--output", type=Path, default=here, help="folder of the results")
    parser.add_argument("--scratch", type=Path, help="folder for files while it runs")
    return parser.parse_args(arguments)


def versions() -> str:
    """Return the versions of what takes part."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return ", ".join([*found, f"libzstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"])


def load_average() -> str:
    """Return how many processes wanted a core in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def announce(experiment: Experiment) -> None:
    """Print the figures of an experiment."""
    for row in experiment.rows:
        goal = "" if row.target is None else f" (target {row.target:g})"
        verdict = {True: " yes", False: " NO", None: ""}[row.reached]
        best = "" if row.best is None else f" [least times {row.best:.3g}]"
        print(f"{row.on}: {row.what}: {row.measured:.3g} {row.unit}{goal}{verdict}{best}")
    sys.stdout.flush()


def main() -> int:
    """Measure, write both files after each group; return 1 when a target was missed."""
    options = parse()
    begin = load_average()
    experiments: list[Experiment] = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        bench = Workbench(Path(folder), options.runs, options.quick)
        for group in options.only:
            for experiment in GROUPS[group](bench):
                experiments.append(experiment)
                announce(experiment)
            write(options, experiments, f"load average {begin} at the start, {load_average()} now")
    missed = [row for each in experiments for row in each.rows if row.reached is False]
    return 1 if missed else 0


def write(options: argparse.Namespace, experiments: Sequence[Experiment], load: str) -> None:
    """Write `speed.json` and `speed.md`."""
    about = [
        f"dcz {dcz.__version__} ({dcz.BACKEND} backend); {timing.machine()}",
        versions(),
        f"{datetime.date.today()}; medians of at least {options.runs} runs"
        f"{', quick' if options.quick else ''}; {load}",
    ]
    result = {"about": about, "experiments": [each.figures() for each in experiments]}
    (options.output / "speed.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.output / "speed.md").write_text(page(experiments, about))


if __name__ == "__main__":
    sys.exit(main())
