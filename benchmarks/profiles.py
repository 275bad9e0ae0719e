"""What bounds an action of dcz: its serial part, or where its time goes by a sampling profiler.

    python benchmarks/profiles.py serial [--only craft]
    python benchmarks/profiles.py repeat {dense,sparse,load,pack} CHECKPOINT [--seconds 10]

`serial` packs and loads checkpoints with one thread and with two, and tells how much of the
processor time the calling thread spent: while it works on its own, a second core waits.
`repeat` prints its process id and repeats one action on one core, for `perf record -p`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import checkpoints
import timing
from speed_rows_decode import coded_by
from workbench import Workbench

import dcz
from dcz.formats.checkpoints.registry import open_checkpoint

ROUNDS = 9
Action = Callable[[int], object]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Tell what bounds an action of dcz.")
    ways = parser.add_subparsers(dest="way", required=True)
    serial_parser = ways.add_parser("serial")
    serial_parser.add_argument("--only", nargs="+", default=list(checkpoints.SOURCES))
    repeat_parser = ways.add_parser("repeat")
    repeat_parser.add_argument("action", choices=["dense", "sparse", "load", "pack"])
    repeat_parser.add_argument("checkpoint", choices=list(checkpoints.SOURCES))
    repeat_parser.add_argument("--seconds", type=float, default=10)
    return parser.parse_args(arguments)


def action_of(bench: Workbench, what: str, name: str) -> Action:
    """Return an action that takes a number of threads."""
    if what == "pack":
        opened, dest = open_checkpoint(bench.source(name)), bench.scratch / "packed.dcz"
        return lambda jobs: dcz.pack(opened, dest, dcz.Recipe(bits=5), jobs=jobs)
    if what == "load":
        path = bench.packed(name, bits=5)
        return lambda jobs: dcz.load_file(path, jobs=jobs)
    settings = {"bits": 5} if what == "dense" else {"sparsity": 0.9, "bits": 5}
    archive = dcz.open(bench.packed(name, **settings), jobs=1)
    outs = coded_by(archive, f"huffman-{what}")
    return lambda jobs: [archive.read(name, out=out) for name, out in outs.items()]


def spent(action: Action, jobs: int) -> tuple[float, float]:
    """Return the least processor seconds of a call: of all threads, and of the caller's."""
    found = []
    for _ in range(ROUNDS):
        start, alone = time.process_time(), time.thread_time()
        action(jobs)
        found.append((time.process_time() - start, time.thread_time() - alone))
    return min(found)


def serial(bench: Workbench, names: Sequence[str]) -> None:
    """Print the serial part of packing and loading, and the most that two cores can give."""
    timing.run_on_cores(2)
    for name in names:
        for what in ("load", "pack"):
            action = action_of(bench, what, name)
            alone, _ = spent(action, 1)
            total, caller = spent(action, 2)
            most = alone / (caller + (total - caller) / 2)
            print(
                f"{name}, {what}: {alone * 1e3:.1f} ms with one thread, {total * 1e3:.1f} ms with"
                f" two, {caller * 1e3:.1f} ms of them in the caller's: at most {most:.2f}x"
            )


def repeat(bench: Workbench, what: str, name: str, seconds: float) -> None:
    """Repeat an action for some seconds."""
    timing.run_on_one_core()
    action = action_of(bench, what, name)
    action(1)
    print(f"perf record -e cpu-clock -p {os.getpid()}", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        action(1)


def main() -> int:
    """Do what the command line asks for."""
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(Path(folder), runs=ROUNDS, quick=False)
        if options.way == "serial":
            serial(bench, options.only)
        else:
            repeat(bench, options.action, options.checkpoint, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
