"""The same bytes: packed files over runs, threads, backends and hash seeds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from corpus import model
from workers import Tally

import dcz

THREADS = (1, 2, 3, 4, 5, 8, 12, 16)
RECIPES = {
    "default": dcz.Recipe(),
    "paper": dcz.Recipe(sparsity=0.9, bits=5),
    "balanced": dcz.Recipe(preset="balanced"),
    "max": dcz.Recipe(preset="max"),
    "ratio": dcz.Recipe(preset="balanced", target_ratio=8.0),
    "exact": dcz.Recipe(quantizer="lossless"),
    "wide": dcz.Recipe(levels=5000),
}


def one_digest(folder: Path, runs: int) -> Tally:
    """In each run a process with another hash seed, every second on the other backend."""
    tally = Tally()
    expected: dict[str, str] = {}
    for run in range(runs):
        backend = ("c", "numpy")[run % 2]
        environment = os.environ | {"DCZ_BACKEND": backend, "PYTHONHASHSEED": str(run)}
        command = [sys.executable, __file__, str(folder), str(run)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            tally.fail(f"run {run}: {done.stderr[-300:]}")
        for line in done.stdout.splitlines():
            recipe, threads, digest = line.split()
            if expected.setdefault(recipe, digest) == digest:
                tally.add(f"{recipe}: {digest[:16]}")
            else:
                tally.fail(f"{recipe} on {backend} with {threads} threads: {digest}")
    return tally


def main(folder: Path, run: int) -> None:
    """Pack by every recipe, with the two numbers of threads whose turn it is."""
    whole = model()
    few = {name: array[:12] for name, array in whole.items()}
    path = folder / f"{run}.dcz"
    for recipe, settings in RECIPES.items():
        # The NumPy backend takes its time for mixed contexts.
        tensors = few if settings.preset == "max" else whole
        for threads in (THREADS[run % len(THREADS)], THREADS[(run // 2 + 3) % len(THREADS)]):
            dcz.save_file(tensors, path, settings, jobs=threads)
            print(recipe, threads, hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
