"""A user's own figures: how fast a file is packed and decoded here, beside what else could be done.

The jobs take turns, so that a machine that slows down slows all of them, and medians are given.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np
import zstandard

from ...codec.rate.recipe import Recipe
from ...codec.wire.arrays import AnyArray
from ..checkpoints.base import bytes_of
from ..checkpoints.dcz import DczCheckpoint
from ..checkpoints.registry import open_checkpoint
from ..container.reader import Path, Reader
from ..pack.pack import pack

MEMCPY = "memcpy of the tensors"


@dataclass(frozen=True, slots=True)
class Figure:
    """How long a job took: median `seconds`, and as a multiple of memcpy's."""

    job: str
    seconds: float
    times_memcpy: float


def bench(path: Path, *, runs: int = 5, jobs: int | None = None) -> list[Figure]:
    """Time decoding of a `.dcz` file, or packing and decoding of another checkpoint.

    Parameters
    ----------
    path : path
        Any supported file; one that is not packed yet is packed with 32 shared values a tensor.
    runs : int
        How often each job is timed after a first run that does not count.
    jobs : int, optional
        Threads of the jobs that can use several.

    Raises
    ------
    DczError, OSError
        As `pack` and `Reader` do.
    """
    with tempfile.TemporaryDirectory(prefix="dcz-") as folder, open_checkpoint(path) as checkpoint:
        work: dict[str, Callable[[], object]] = {}
        packed = FilePath(folder) / "packed.dcz"
        if isinstance(checkpoint, DczCheckpoint):
            packed = FilePath(path)
        else:
            recipe = Recipe(bits=5)
            work["dcz pack, 5 bits"] = lambda: pack(checkpoint, packed, recipe, jobs=jobs)
            pack(checkpoint, packed, recipe, jobs=jobs)
        with _decoding(packed, jobs) as more:
            return _figures(_take_turns(work | more, runs))


@contextmanager
def _decoding(path: FilePath, jobs: int | None) -> Iterator[dict[str, Callable[[], object]]]:
    """The jobs that start from a packed file, and what they are measured against."""
    with Reader(path, jobs=jobs) as archive:
        tensors = dict(archive)
        room = {name: np.empty_like(array) for name, array in tensors.items()}
        content = b"".join(bytes_of(array) for array in tensors.values())
        small = zstandard.compress(content, 3)
        yield {
            MEMCPY: lambda: _copy(tensors, room),
            "dcz decode into memory in use": lambda: _read(archive, room),
            "dcz load into fresh memory": lambda: dict(archive),
            "zstd -3 compression of the tensors": lambda: zstandard.compress(content, 3),
            "zstd decompression of the same": lambda: zstandard.decompress(small),
        }


def _copy(tensors: Mapping[str, AnyArray], room: Mapping[str, AnyArray]) -> None:
    for name, array in tensors.items():
        np.copyto(room[name], array)


def _read(archive: Reader, room: Mapping[str, AnyArray]) -> None:
    for name, array in room.items():
        archive.read(name, array)


def _take_turns(work: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    times: dict[str, list[float]] = {job: [] for job in work}
    for _ in range(runs + 1):
        for job, run in work.items():
            start = time.perf_counter()
            run()
            times[job].append(time.perf_counter() - start)
    return {job: statistics.median(measured[1:]) for job, measured in times.items()}


def _figures(seconds: Mapping[str, float]) -> list[Figure]:
    return [Figure(job, spent, spent / seconds[MEMCPY]) for job, spent in seconds.items()]
