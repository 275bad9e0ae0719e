"""Rows on growing data: time per weight and peak memory, of one tensor and of many."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import memory
import numpy as np
import safetensors.numpy
import timing
from speed_table import Experiment
from workbench import Array, Workbench, gaussian

import dcz

MEBIBYTE = 1 << 20
SCALES = (1, 4, 16)
LINEAR = 15.0
# 20 million weights: 80 MB, and 1.3 GB at the largest scale.
SMALLEST = 20 * MEBIBYTE
EACH_OF_MANY = 1_310_720

Paths = dict[int, Path]


def growth(bench: Workbench) -> list[Experiment]:
    """Pack and decode 1, 4 and 16 times as much, in one tensor and in equal ones."""
    smallest = SMALLEST // 16 if bench.quick else SMALLEST
    return [
        _growth(bench, "one tensor", smallest, lambda size: size),
        _growth(bench, "many tensors", smallest, lambda size: min(size, EACH_OF_MANY)),
    ]


def _growth(
    bench: Workbench, title: str, smallest: int, tensor_size: Callable[[int], int]
) -> Experiment:
    experiment = Experiment(f"{title}, {smallest * 4 / 1e6:.0f} MB x 1, 4, 16")
    sizes = {scale: smallest * scale for scale in SCALES}
    sources = {s: bench.scratch / f"grown-{s}.safetensors" for s in SCALES}
    packed = {s: bench.scratch / f"grown-{s}.dcz" for s in SCALES}
    for scale, size in sizes.items():
        _write(sources[scale], size, tensor_size(size))
    timing.run_on_one_core()
    packing = {f"pack x{s}": _packing(sources[s], packed[s]) for s in SCALES}
    experiment.seconds = timing.samples(packing, bench.runs)
    reading = {f"archive.read(out=) x{s}": _reading(packed[s], tensor_size) for s in SCALES}
    experiment.seconds |= timing.samples(reading, bench.runs)
    for what in ("pack", "archive.read(out=)"):
        each = {s: experiment.median(f"{what} x{s}") / sizes[s] for s in SCALES}
        off = max(abs(each[scale] / each[1] - 1) for scale in SCALES)
        experiment.limit(
            f"{what}: time per weight, furthest from that at x1", 100 * off, LINEAR, "%"
        )
        nanoseconds = ", ".join(f"{value * 1e9:.3g}" for value in each.values())
        experiment.remarks.append(f"{what}: {nanoseconds} ns a weight")
    if memory.available():
        _add_memory(experiment, sources, packed, {s: 4 * tensor_size(sizes[s]) for s in SCALES})
    for path in (*sources.values(), *packed.values()):
        path.unlink()
    return experiment


def _write(path: Path, size: int, each: int) -> None:
    tensors = {f"layer.{i}": gaussian(each, seed=i) for i in range(size // each)}
    safetensors.numpy.save_file(tensors, path)
    # Unwritten pages would slow down whatever is measured next.
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _packing(source: Path, dest: Path) -> Callable[[], object]:
    return lambda: dcz.pack(source, dest, dcz.Recipe(bits=5), jobs=1)


def _reading(path: Path, tensor_size: Callable[[int], int]) -> Callable[[], object]:
    """Read every tensor into the same memory."""
    outs: dict[tuple[int, ...], Array] = {}

    def contestant() -> None:
        with dcz.open(path, jobs=1) as archive:
            for name in archive:
                shape = archive.info(name).shape
                if shape not in outs:
                    outs[shape] = np.empty(shape, np.float32)
                archive.read(name, out=outs[shape])

    return contestant


def _add_memory(
    experiment: Experiment,
    sources: Paths,
    packed: Paths,
    largest: dict[int, int],
) -> None:
    timing.run_on_cores(timing.cores())
    unpacked = sources[1].with_name("unpacked.safetensors")
    for scale in SCALES:
        limit = 2 * largest[scale] / MEBIBYTE + 64
        again = packed[scale].with_name("again.dcz")
        taken = {
            "pack": memory.peak("pack", sources[scale], again, 2),
            "unpack": memory.peak("unpack", packed[scale], unpacked, 2),
        }
        for action, peak in taken.items():
            experiment.limit(f"{action} x{scale}: peak memory", peak / MEBIBYTE, limit, "MiB")
        again.unlink()
        unpacked.unlink()


def memory_of_checkpoints(bench: Workbench) -> list[Experiment]:
    """Peak memory of pack and unpack, from a copy that can be mapped, on all cores."""
    if not memory.available():
        return [Experiment("memory", remarks=["the system does not tell (needs Linux)"])]
    timing.run_on_cores(timing.cores())
    return [_memory(bench, name) for name in bench.names]


def _memory(bench: Workbench, name: str) -> Experiment:
    experiment = Experiment(f"{name} as safetensors, memory")
    source, packed = bench.safetensors(name), bench.packed(name, bits=5)
    largest = max(array.nbytes for array in bench.arrays(name).values())
    limit = 2 * largest / MEBIBYTE + 64
    for action, path in (("pack", source), ("unpack", packed)):
        suffix = ".dcz" if action == "pack" else ".safetensors"
        dest = bench.scratch / f"memory{suffix}"
        taken = memory.peak(action, path, dest, timing.cores())
        experiment.limit(f"{action}: peak memory", taken / MEBIBYTE, limit, "MiB")
    return experiment
