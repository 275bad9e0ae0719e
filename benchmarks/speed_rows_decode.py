"""Rows on decoding into reused memory, beside memcpy and zstd's decompression."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import timing
import zstandard
from speed_table import Experiment
from workbench import Array, Arrays, Workbench

import dcz

NUMPY_SYMBOLS = 60e6
WITHOUT = "archive.read(out=), digests left out"


def dense(bench: Workbench) -> list[Experiment]:
    """Decode 5-bit tensors; zstd gets their indices, one byte each."""
    return [_dense(bench, name) for name in ["synthetic", *bench.names]]


def sparse(bench: Workbench) -> list[Experiment]:
    """Decode tensors of which a tenth survived; zstd gets the decoded fp32 itself."""
    return [_sparse(bench, name) for name in ["synthetic", *bench.names]]


def _dense(bench: Workbench, name: str) -> Experiment:
    with dcz.open(bench.packed(name, bits=5), jobs=1) as archive:
        decoded = coded_by(archive, "huffman-dense")
        contents = [indices(array) for array in decoded.values()]
        experiment = _decode(bench, f"{name}, 5 bits", archive, decoded, b"".join(contents))
    experiment.compare("dense decode, digests left out / memcpy", WITHOUT, "memcpy", 0.60)
    experiment.compare("dense decode / memcpy", "archive.read(out=)", "memcpy", 0.60)
    experiment.compare(
        "dense decode / zstd -3 -d of the indices", "archive.read(out=)", "zstd -3 -d", 1.0
    )
    return experiment


def _sparse(bench: Workbench, name: str) -> Experiment:
    with dcz.open(bench.packed(name, sparsity=0.9, bits=5), jobs=1) as archive:
        decoded = coded_by(archive, "huffman-sparse")
        content = b"".join(array.tobytes() for array in decoded.values())
        experiment = _decode(bench, f"{name}, sparsity 0.9", archive, decoded, content)
    experiment.compare("sparse decode, digests left out / memcpy", WITHOUT, "memcpy", 0.80)
    experiment.compare("sparse decode / memcpy", "archive.read(out=)", "memcpy", 0.80)
    experiment.compare(
        "sparse decode / zstd -3 -d of the fp32", "archive.read(out=)", "zstd -3 -d", 5.0
    )
    return experiment


def coded_by(archive: dcz.Archive, coder: str) -> Arrays:
    """Decode the tensors of a coder."""
    return {name: archive[name] for name in archive if archive.coder(name) == coder}


def indices(array: Array) -> bytes:
    """Return a shared tensor's indices, found by sorting: one byte each."""
    values = np.unique(array)
    return np.searchsorted(values, array.reshape(-1)).astype(np.uint8).tobytes()


def _decode(
    bench: Workbench, title: str, archive: dcz.Archive, decoded: Arrays, content: bytes
) -> Experiment:
    outs = {name: np.empty_like(array) for name, array in decoded.items()}

    def read(opened: dcz.Archive) -> None:
        for name, out in outs.items():
            opened.read(name, out=out)

    def copy() -> None:
        for name, out in outs.items():
            np.copyto(out, decoded[name])

    compressed = zstandard.ZstdCompressor(3).compress(content)
    timing.run_on_one_core()
    with dcz.open(archive.path, jobs=1, check_digests=False) as unchecked:
        contestants: dict[str, Callable[[], object]] = {
            "archive.read(out=)": partial(read, archive),
            WITHOUT: partial(read, unchecked),
            "memcpy": copy,
            "zstd -3 -d": decompressing(compressed, len(content)),
        }
        seconds = timing.samples(contestants, max(bench.runs, 9))
    return Experiment(title, sum(array.size for array in decoded.values()), seconds)


def decompressing(compressed: bytes, size: int) -> Callable[[], object]:
    """Return a contestant: zstd's decompression into memory that is used again."""
    out = memoryview(bytearray(size))
    decompressor = zstandard.ZstdDecompressor()

    def contestant() -> None:
        with decompressor.stream_reader(compressed) as reader:
            done = 0
            while done < size:
                done += reader.readinto(out[done:])

    return contestant


def numpy_backend(bench: Workbench) -> list[Experiment]:
    """Decode the synthetic tensor in a process that uses the NumPy backend."""
    timing.run_on_one_core()
    path = bench.packed("synthetic", bits=5)
    command: list[str | Path] = [sys.executable, __file__, path, str(bench.runs)]
    environment = {**os.environ, "DCZ_BACKEND": "numpy"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds = json.loads(done.stdout)
    experiment = Experiment("synthetic, NumPy backend", bench.synthetic_size, seconds)
    rate = bench.synthetic_size / experiment.median("archive.read(out=)")
    experiment.add("dense decode", rate / 1e6, NUMPY_SYMBOLS / 1e6, "million symbols/s")
    return [experiment]


def main() -> None:
    """Time `archive.read` of every tensor of a file, and print the seconds as JSON."""
    path, rounds = sys.argv[1:]
    with dcz.open(path, jobs=1) as archive:
        outs = {name: archive[name] for name in archive}

        def read() -> None:
            for name, out in outs.items():
                archive.read(name, out=out)

        print(json.dumps(timing.samples({"archive.read(out=)": read}, int(rounds))))


if __name__ == "__main__":
    main()
