"""A few threads that decode side by side.

As concurrent.futures has them, whose import takes longer than all of a reader's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Job:
    """Something to do in a thread."""

    __slots__ = ("_error", "_ready", "_task")

    def __init__(self, task: Callable[[], object]) -> None:
        self._task = task
        self._ready = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, and keep what went wrong for `wait`."""
        try:
            self._task()
        except BaseException as error:
            self._error = error
        self._ready.set()

    def wait(self) -> None:
        """Wait until it is done; raise what it raised."""
        self._ready.wait()
        if self._error is not None:
            raise self._error


class Threads:
    """Threads that take jobs in turn; each begins when there is something to do.

    Parameters
    ----------
    most : int
        How many threads there are at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, task: Callable[[], object]) -> Job:
        """Let a thread do something as soon as one is free."""
        job = Job(task)
        self._jobs.put(job)
        if len(self._threads) < self._most:
            name = f"dcz_{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()
        return job

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()

    def close(self) -> None:
        """Wait for all that was started."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
