"""How small dcz is at equal error, beside NNCodec and the targets.

    python benchmarks/sizes.py [--quick] [--only CHECKPOINT ...] [--presets NAME ...]
                               [--also PATH ...] [--runs N]

The bytes of every preset at errors that NNCodec, the reference software of ISO/IEC 15938-17, was
measured at, how fast each is decoded, and what lossless packing gives. The results are written to
`sizes.md` and `sizes.json` beside this script. A missed target is printed as no, and the exit code
is 1. NNCodec's sizes are kept in the cache folder, so that only the first run has to wait for them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import checkpoints
import sizes_rows
import sizes_speed
import timing
from sizes_page import page
from sizes_rows import Sizes
from speed import announce, load_average
from speed_table import Experiment

import dcz
from dcz.codec.rate.recipe import PRESETS


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the size of dcz at equal error.")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--quick", action="store_true", help="sizes alone")
    alone.add_argument("--speeds", action="store_true", help="speeds alone, beside kept sizes")
    known = list(checkpoints.SOURCES | checkpoints.OTHERS)
    parser.add_argument("--only", nargs="*", choices=known, default=known, metavar="CHECKPOINT")
    parser.add_argument("--presets", nargs="+", choices=tuple(PRESETS), default=list(PRESETS))
    also = "other checkpoints: .safetensors, .pt, .pth or .npz"
    parser.add_argument("--also", nargs="+", type=Path, default=[], metavar="PATH", help=also)
    parser.add_argument("--runs", type=int, default=5, help="rounds of each comparison of times")
    here = Path(__file__).parent
    parser.add_argument("-o", "--output", type=Path, default=here, help="folder of the results")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=timing.folder_in_memory(),
        help="folder for files while it runs; default: in memory, if it can be",
    )
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, write both files after each row; return 1 when a target was missed."""
    options = parse()
    results = Results(options.output, options.runs)
    if options.speeds:
        results.take_sizes()
    timed = set()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        for goal in sizes_rows.goals(options.only, options.also):
            arrays = sizes_rows.weights(goal.checkpoint)
            if not options.speeds:
                results.add_sizes(sizes_rows.measure(goal, arrays, options.presets, scratch))
            if not options.quick and goal.checkpoint not in timed:
                timed.add(goal.checkpoint)
                chosen = options.presets, scratch, options.runs
                results.add_speeds(sizes_speed.decode(goal, arrays, *chosen))
        if not options.quick:
            for experiment in sizes_speed.lossless(scratch, options.only, options.runs):
                results.add_speeds(experiment)
    return 1 if results.missed() else 0


class Results:
    """What was measured so far, in the two files of a folder."""

    def __init__(self, folder: Path, runs: int) -> None:
        self._folder = folder
        self._sizes: list[Sizes] = []
        self._speeds: list[Experiment] = []
        self._machine = f"dcz {dcz.__version__} ({dcz.BACKEND} backend); {timing.machine()}"
        self._begin = load_average()
        self._sizes_from = f"sizes: {datetime.date.today()}"
        self._speeds_from = f"speeds: {datetime.date.today()}, medians of {runs} runs"

    def take_sizes(self) -> None:
        """Go on from the sizes that the folder has."""
        kept = json.loads((self._folder / "sizes.json").read_text())
        self._sizes = [Sizes.of(figures) for figures in kept["sizes"]]
        self._sizes_from = next(line for line in kept["about"] if line.startswith("sizes: "))

    def add_sizes(self, sizes: Sizes) -> None:
        """Print and keep a row of the table."""
        self._sizes.append(sizes)
        print_sizes(sizes)
        self._write()

    def add_speeds(self, speeds: Experiment) -> None:
        """Print and keep the speeds on one checkpoint."""
        self._speeds.append(speeds)
        announce(speeds)
        self._write()

    def missed(self) -> bool:
        """Tell whether any target was missed."""
        verdicts = [each.reached(preset) for each in self._sizes for preset in each.presets]
        verdicts += [row.reached for each in self._speeds for row in each.rows]
        return False in verdicts

    def _write(self) -> None:
        load = f"load average {self._begin} at the start, {load_average()} now"
        about = [self._machine, self._sizes_from, f"{self._speeds_from}; {load}"]
        result = {
            "about": about,
            "sizes": [each.figures() for each in self._sizes],
            "experiments": [each.figures() for each in self._speeds],
        }
        (self._folder / "sizes.json").write_text(json.dumps(result, indent=1) + "\n")
        (self._folder / "sizes.md").write_text(page(self._sizes, self._speeds, about))


def print_sizes(sizes: Sizes) -> None:
    """Print a row of the table."""
    if sizes.nncodec is not None:
        print(f"{sizes.goal.title}: NNCodec {sizes.nncodec_bytes:,.0f} bytes")
    for preset in sizes.presets:
        limit = sizes.goal.limits.get(preset)
        goal = "" if limit is None else f" (target {limit:+g}%)"
        verdict = {True: " yes", False: " NO", None: ""}[sizes.reached(preset)]
        figures = f"{sizes.bytes(preset):,.0f} bytes, {sizes.excess(preset):+.2f}%"
        print(f"{sizes.goal.title}: {preset} {figures}{goal}{verdict}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
