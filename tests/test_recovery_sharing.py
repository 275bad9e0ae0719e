"""One archive for many: threads, forked processes, and readers of a file that is replaced."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dcz

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
LARGE = np.random.default_rng(0).normal(size=(1500, 1000)).astype(np.float32)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "model.dcz"
    small = {f"small.{i}": np.arange(9.0) * i for i in range(20)}
    dcz.save_file({"large": LARGE, **small}, path, dcz.Recipe(quantizer="lossless"))
    return path


def is_right(archive: dcz.Archive) -> bool:
    small = all(np.array_equal(archive[f"small.{i}"], np.arange(9.0) * i) for i in range(20))
    return small and np.array_equal(archive["large"], LARGE)


def in_a_child(task: object) -> bool:
    """Whether a task that runs in a forked process returns true, within a time that is plenty."""
    assert callable(task)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=lambda: os._exit(0 if task() else 1))
    child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
        return False
    return child.exitcode == 0


@forks
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_reads_on_from_an_archive_that_has_threads(packed: Path) -> None:
    with dcz.open(packed, jobs=2) as archive:
        assert is_right(archive)
        assert in_a_child(lambda: is_right(archive))
        assert in_a_child(lambda: np.array_equal(archive["large"], LARGE))
        assert in_a_child(lambda: archive.close() is None)
        assert is_right(archive)


@forks
def test_a_fork_packs_and_loads(packed: Path, tmp_path: Path) -> None:
    def work() -> bool:
        dcz.save_file({"x": LARGE}, tmp_path / "other.dcz", jobs=2)
        return list(dcz.load_file(packed)) == list(dcz.open(packed))

    assert in_a_child(work)


@pytest.mark.parametrize("jobs", [1, 2])
def test_threads_share_an_archive(packed: Path, jobs: int) -> None:
    start = threading.Barrier(8)

    def work(_: int) -> bool:
        start.wait()
        return is_right(archive)

    with dcz.open(packed, jobs=jobs) as archive, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "model.dcz"
    versions = [np.full((300, 200), i) for i in range(20)]
    dcz.save_file({"x": versions[0]}, path)
    done = threading.Event()

    def read(_: int) -> set[int]:
        seen = set()
        while not done.is_set():
            array = dcz.load_file(path)["x"]
            assert array.shape == (300, 200)
            (value,) = np.unique(array).tolist()
            seen.add(value)
        return seen

    with ThreadPoolExecutor(8) as threads:
        readers = [threads.submit(read, i) for i in range(8)]
        for version in versions:
            dcz.save_file({"x": version}, path)
        done.set()
        assert set().union(*(reader.result() for reader in readers)) <= set(range(20))
    assert os.listdir(tmp_path) == ["model.dcz"]
