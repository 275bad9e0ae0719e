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

    Any thread may start jobs. The threads end when this is closed, or dropped.

    Parameters
    ----------
    most : int
        How many threads there are at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, task: Callable[[], object]) -> Job:
        """Let a thread do something as soon as one is free."""
        job = Job(task)
        self._jobs.put(job)
        with self._lock:
            if len(self._threads) < self._most:
                name = f"dcz_{len(self._threads)}"
                # It holds the queue alone: what holds the threads may be let go meanwhile.
                thread = threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        return job

    def close(self) -> None:
        """Wait for all that was started."""
        self._end()
        for thread in self._threads:
            thread.join()

    def _end(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)

    def __del__(self) -> None:
        self._end()


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # a thread that waits keeps nothing of what it did
