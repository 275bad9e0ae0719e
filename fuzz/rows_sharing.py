"""Many at once: readers while a file is replaced, threads on one archive, forked processes."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from corpus import model
from workers import Tally

import dcz

READERS, THREADS = 32, 8
VERSIONS = 4


def readers_threads_forks(folder: Path, rounds: int) -> Tally:
    """`rounds` replacements under 32 readers, and a tenth of it of the others."""
    tally = Tally()
    _replaced_while_read(folder / "replaced.dcz", rounds, tally)
    dcz.save_file(model(), folder / "shared.dcz", dcz.Recipe(bits=4))
    for jobs in (1, 2):
        for _ in range(max(rounds // 10, 2)):
            _threads(folder / "shared.dcz", jobs, tally)
            _forks(folder / "shared.dcz", jobs, tally)
    return tally


def _version(number: int) -> dict[str, np.ndarray]:
    return {f"w{i}": np.full((60, 50), 100 * number + i, np.int32) for i in range(5)}


def _replaced_while_read(path: Path, rounds: int, tally: Tally) -> None:
    """Processes read in a loop, each in its own; every read sees one whole version."""
    dcz.save_file(_version(0), path)
    stop = path.with_suffix(".stop")
    children = []
    for _ in range(READERS):
        child = os.fork()
        if child == 0:
            os._exit(_reads(path, stop))
        children.append(child)
    for number in range(rounds):
        dcz.save_file(_version(number % VERSIONS), path)
        time.sleep(0.01)
    stop.touch()
    for child in children:
        status = os.waitpid(child, 0)[1]
        if status:
            tally.fail(f"a reader ended with {status}")
        else:
            tally.add("a reader saw whole versions only")


def _reads(path: Path, stop: Path) -> int:
    try:
        while not stop.exists():
            arrays = dcz.load_file(path, jobs=1)
            number = int(arrays["w0"][0, 0]) // 100
            if any(not np.array_equal(arrays[n], a) for n, a in _version(number).items()):
                return 1
    except BaseException:
        return 2
    return 0


def _threads(path: Path, jobs: int, tally: Tally) -> None:
    expected = {name: array.tobytes() for name, array in dcz.load_file(path).items()}
    start = threading.Barrier(THREADS)

    def read(_: int) -> bool:
        start.wait()
        return all(archive[name].tobytes() == expected[name] for name in archive)

    with dcz.open(path, jobs=jobs) as archive, ThreadPoolExecutor(THREADS) as threads:
        for right in threads.map(read, range(THREADS)):
            if right:
                tally.add("a thread read right")
            else:
                tally.fail("a thread read wrong")


def _forks(path: Path, jobs: int, tally: Tally) -> None:
    """A fork after import, and after the parent has read with threads."""
    with dcz.open(path, jobs=jobs) as archive:
        expected = {name: archive[name].tobytes() for name in archive}
        child = os.fork()
        if child == 0:
            right = all(archive[name].tobytes() == expected[name] for name in archive)
            os._exit(0 if right and len(dcz.load_file(path)) == len(expected) else 1)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            time.sleep(0.005)
        else:
            os.kill(child, 9)
            _, status = os.waitpid(child, 0)
        if status:
            tally.fail(f"a fork ended with {status}")
        else:
            tally.add("a fork read right")
