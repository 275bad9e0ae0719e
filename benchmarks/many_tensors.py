"""Packing thousands of small tensors: seconds of a whole `dcz pack` beside what is allowed."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Tensors = dict[str, npt.NDArray[Any]]

CASES = {
    "10,000 of 4x4": (10_000, 4, "float32", False, 3.0),
    "2,000 of 64x64": (2_000, 64, "float32", False, 2.0),
    "2,000 of 64x64, float16": (2_000, 64, "float16", False, 2.0),
    "2,000 of 64x64, bfloat16": (2_000, 64, "bfloat16", False, 2.0),
    "2,000 of 64x64 with biases": (2_000, 64, "float32", True, 3.0),
}
OPTIONS = {
    "balanced": ["--preset", "balanced"],
    "5 bits": ["--bits", "5"],
    "paper": ["--preset", "paper"],
}
SCALE = 0.02


@dataclass(frozen=True)
class Row:
    """Seconds of some runs of one command."""

    seconds: list[float]
    tensors: int
    allowed: float
    bytes: int

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)

    def text(self, case: str, options: str) -> str:
        """The row of a table."""
        each = 1000 * self.median / self.tensors
        return (
            f"| {case} | {options} | {self.median:.2f} s ({min(self.seconds):.2f}) | {each:.2f} ms "
            f"| {self.allowed:.0f} s | {self.bytes:,} |"
        )


def draw(count: int, side: int, dtype: str, biases: bool) -> Tensors:
    """Weights of a normal distribution, and a bias for each matrix where wanted."""
    generator = np.random.default_rng(0)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    tensors: Tensors = {}
    for i in range(count):
        tensors[f"layers.{i}.weight"] = generator.normal(0, SCALE, (side, side)).astype(kind)
        if biases:
            tensors[f"layers.{i}.bias"] = generator.normal(0, SCALE, side).astype(kind)
    return tensors


def measure(source: Path, options: list[str], runs: int) -> list[float]:
    """Seconds of each run, start of the interpreter and report included."""
    command = [sys.executable, "-m", "dcz", "pack", str(source), "--force", *options]
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> int:
    """Print a row for each case; 1 if one that has a target misses it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(OPTIONS), choices=list(OPTIONS))
    chosen = parser.parse_args()
    missed = False
    print("| tensors | options | median (least) | each | allowed | bytes |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="dcz-many-") as folder:
        for case, (count, side, dtype, biases, allowed) in CASES.items():
            source = Path(folder) / "many.safetensors"
            tensors = draw(count, side, dtype, biases)
            save_file(tensors, source)
            for name in chosen.only:
                seconds = measure(source, OPTIONS[name], chosen.runs)
                size = os.path.getsize(source.with_suffix(".dcz"))
                row = Row(seconds, len(tensors), allowed, size)
                missed |= row.median > allowed
                print(row.text(case, name), flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
