"""How fast the presets decode beside memcpy and NNCodec, and lossless packing beside zstd -3."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import checkpoints
import ml_dtypes
import nncodec_bridge
import nncodec_points
import numpy as np
import sizes_rows
import timing
import zstandard
from checkpoints import Arrays
from sizes_rows import Goal
from speed_table import Experiment

import dcz

MEMCPY, NNCODEC = "memcpy", "NNCodec decode"
LEAST_SPEED = {"max": 25.0}
# Seconds of processor time a million weights.
MOST_SECONDS = {"max": 5.0}
LEAST_OF_MEMCPY = {"balanced": 0.4}
LEAST_OF_NNCODEC = {"balanced": 50.0}
LOSSLESS_GOALS = {"minilm-l6, fp32": 1.220, "minilm-l6, bf16": 1.505, "craft, fp32": 1.20}


def decode(
    goal: Goal, arrays: Arrays, presets: Sequence[str], scratch: Path, runs: int
) -> Experiment:
    """Pack at the goal's error, and decode into memory in use, on one core and on all.

    On one core tensors are read one after the other, on several all at once.
    """
    room = {name: np.empty_like(array) for name, array in arrays.items()}
    contestants: dict[str, Callable[[], object]] = {MEMCPY: partial(_copy, arrays, room)}
    archives = []
    packing = {}
    for preset in presets:
        path = scratch / f"{preset}.dcz"
        started = time.process_time()
        sizes_rows.pack(arrays, preset, goal.error, path)
        packing[preset] = time.process_time() - started
        archives.append(dcz.open(path, jobs=1))
        contestants[f"{preset} decode"] = partial(_read, archives[-1], room)
    timing.run_on_one_core()
    seconds = timing.samples(contestants, runs)
    timing.run_on_cores(timing.cores())
    for preset in presets:
        archives.append(dcz.open(scratch / f"{preset}.dcz", jobs=timing.cores()))
        many = partial(archives[-1].read_all, room)
        seconds |= timing.samples({f"{preset} decode, {timing.cores()} cores": many}, runs)
    for archive in archives:
        archive.close()
    experiment = Experiment(goal.title, sum(array.size for array in arrays.values()), seconds)
    if nncodec_bridge.available():
        seconds[NNCODEC] = [_nncodec_seconds(arrays, nncodec_points.near(goal.error))]
    else:
        experiment.remarks.append("NNCodec is not installed (`benchmarks/nncodec_bridge.py setup`)")
    for preset in presets:
        seconds_a_million = 1e6 * packing[preset] / experiment.weights
        limit, unit = MOST_SECONDS.get(preset), "s of processor time a million weights"
        experiment.limit(f"{preset} encode, with its aim", seconds_a_million, limit, unit)
        _compare(experiment, preset, sum(array.nbytes for array in arrays.values()))
    return experiment


def _compare(experiment: Experiment, preset: str, nbytes: int) -> None:
    name = f"{preset} decode"
    speed = nbytes / 1e6 / experiment.median(name)
    experiment.add(name, speed, LEAST_SPEED.get(preset), "fp32 MB/s")
    experiment.compare(f"{name} / memcpy", name, MEMCPY, LEAST_OF_MEMCPY.get(preset))
    experiment.compare(f"{name} / NNCodec's", name, NNCODEC, LEAST_OF_NNCODEC.get(preset))
    experiment.compare(f"{name}: all cores / one", f"{name}, {timing.cores()} cores", name)


def _nncodec_seconds(arrays: Arrays, qp: int) -> float:
    timing.run_on_one_core()
    result = nncodec_bridge.run(arrays, qp)
    timing.run_on_cores(timing.cores())
    return result.decode_seconds


def _copy(arrays: Arrays, room: Arrays) -> None:
    for name, array in arrays.items():
        np.copyto(room[name], array)


def _read(archive: dcz.Archive, room: Arrays) -> None:
    for name, array in room.items():
        archive.read(name, array)


def lossless(scratch: Path, only: Sequence[str], runs: int) -> list[Experiment]:
    """Pack whole checkpoints without loss, beside zstd -3 of the same bytes, on one core.

    Each writes and reads a file, with the checksum that the command `zstd` has too.
    """
    return [
        _lossless(title, scratch, runs)
        for title in LOSSLESS_GOALS
        if title.partition(",")[0] in only
    ]


def _lossless(title: str, scratch: Path, runs: int) -> Experiment:
    name, _, dtype = title.partition(", ")
    arrays = checkpoints.load(checkpoints.fetch(name))
    if dtype == "bf16":
        arrays = {n: _as_bf16(array) for n, array in arrays.items()}
    content = b"".join(array.tobytes() for array in arrays.values())
    path = scratch / "lossless.dcz"
    recipe = dcz.Recipe(quantizer="lossless")
    compressed = scratch / "lossless.zst"
    compressor = zstandard.ZstdCompressor(3, write_checksum=True)
    small = compressor.compress(content)
    contestants: dict[str, Callable[[], object]] = {
        "dcz.save_file": partial(dcz.save_file, arrays, path, recipe, jobs=1),
        "zstd -3": lambda: compressed.write_bytes(compressor.compress(content)),
        "dcz.load_file": partial(dcz.load_file, path, jobs=1),
        "zstd -d": lambda: zstandard.ZstdDecompressor().decompress(compressed.read_bytes()),
    }
    timing.run_on_one_core()
    seconds = timing.samples(contestants, runs)
    timing.run_on_cores(timing.cores())
    experiment = Experiment(f"{title}, lossless", 0, seconds)
    ratio, goal = len(content) / path.stat().st_size, LOSSLESS_GOALS[title]
    experiment.add("bytes of the tensors / bytes of the file", ratio, goal)
    experiment.add("bytes of the tensors / bytes of zstd -3", len(content) / len(small))
    experiment.compare("pack / zstd -3", "dcz.save_file", "zstd -3", 1.0)
    experiment.compare("unpack / zstd -d", "dcz.load_file", "zstd -d", 1.0)
    return experiment


def _as_bf16(array: np.ndarray) -> np.ndarray:
    return array.astype(ml_dtypes.bfloat16) if array.dtype == np.float32 else array
