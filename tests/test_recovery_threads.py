"""Reading with threads: whoever asks gets an answer, and nothing is kept alive by them."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.formats.container.threads import Threads


def test_many_callers_may_start_jobs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads take long to make, so that all callers ask for one before there is any."""
    made: list[str] = []
    plain = threading.Thread

    def slow(**options: Any) -> threading.Thread:
        time.sleep(0.02)
        made.append(options["name"])
        return plain(**options)

    threads, done, begin = Threads(2), [], threading.Barrier(8)

    def ask() -> None:
        begin.wait()
        threads.start(lambda: done.append(1)).wait()

    callers = [plain(target=ask, daemon=True) for _ in range(8)]
    monkeypatch.setattr(threading, "Thread", slow)
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    threads.close()
    assert len(done) == 8
    assert len(made) == len(set(made)) <= 2


def test_what_a_job_raises_is_raised_where_it_is_waited_for() -> None:
    threads = Threads(1)
    job, other = threads.start(lambda: 1 // 0), threads.start(lambda: None)
    with pytest.raises(ZeroDivisionError):
        job.wait()
    other.wait()
    threads.close()


def test_a_file_that_is_dropped_without_closing_is_let_go(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(1500, 1000)).astype(np.float32)
    dcz.save_file({"a": weights, "b": weights[:9]}, tmp_path / "x.dcz", dcz.Recipe(bits=4))
    before = threading.active_count()
    archive = dcz.open(tmp_path / "x.dcz", jobs=2)
    archive.read_all({name: np.empty_like(archive[name]) for name in archive})
    assert threading.active_count() > before
    dropped = weakref.ref(archive)
    del archive
    gc.collect()
    assert dropped() is None
    for thread in threading.enumerate():
        if thread.name.startswith("dcz_"):
            thread.join(20)
    assert threading.active_count() <= before
