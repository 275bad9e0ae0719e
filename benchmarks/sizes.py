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
from dcz.codec.recipe import PRESETS


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the size of dcz at equal error.")
    parser.add_argument("--quick", action="store_true", help="sizes alone")
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
    begin = load_average()
    sizes: list[Sizes] = []
    speeds: list[Experiment] = []

    def write() -> None:
        load = f"load average {begin} at the start, {load_average()} now"
        write_results(options.output, sizes, speeds, [*_about(options.runs), load])

    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        timed = set()
        for goal in sizes_rows.goals(options.only, options.also):
            arrays = sizes_rows.weights(goal.checkpoint)
            sizes.append(sizes_rows.measure(goal, arrays, options.presets, scratch))
            print_sizes(sizes[-1])
            write()
            if not options.quick and goal.checkpoint not in timed:
                timed.add(goal.checkpoint)
                chosen = options.presets, scratch, options.runs
                speeds.append(sizes_speed.decode(goal, arrays, *chosen))
                announce(speeds[-1])
                write()
        if not options.quick:
            for experiment in sizes_speed.lossless(scratch, options.only, options.runs):
                speeds.append(experiment)
                announce(experiment)
                write()
    return 1 if missed(sizes, speeds) else 0


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


def missed(sizes: Sequence[Sizes], speeds: Sequence[Experiment]) -> bool:
    """Tell whether any target was missed."""
    verdicts = [each.reached(preset) for each in sizes for preset in each.presets]
    verdicts += [row.reached for each in speeds for row in each.rows]
    return False in verdicts


def _about(runs: int) -> list[str]:
    return [
        f"dcz {dcz.__version__} ({dcz.BACKEND} backend); {timing.machine()}",
        f"{datetime.date.today()}; times are medians of {runs} runs",
    ]


def write_results(
    folder: Path, sizes: Sequence[Sizes], speeds: Sequence[Experiment], about: Sequence[str]
) -> None:
    """Write `sizes.json` and `sizes.md`."""
    result = {
        "about": list(about),
        "sizes": [each.figures() for each in sizes],
        "experiments": [each.figures() for each in speeds],
    }
    (folder / "sizes.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "sizes.md").write_text(page(sizes, speeds, about))


if __name__ == "__main__":
    sys.exit(main())
