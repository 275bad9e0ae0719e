"""Runs numbered cases in a process of their own, which may crash or hang, and counts outcomes.

A case is made from its number alone, so that `campaign.py --case ROW:NUMBER` runs it again.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dcz

HANG_SECONDS = 30
MOST_FAILURES = 20

Case = Callable[[int], str]


@dataclass
class Limits:
    """When to stop: a time (`time.monotonic`) after which no more cases are begun."""

    deadline: float = math.inf


limits = Limits()


class Failure(Exception):  # noqa: N818 - what a case is, not what went wrong in the campaign
    """The promise that a row tests was broken."""


@dataclass
class Tally:
    """What became of a row's cases.

    Attributes
    ----------
    cases : int
    outcomes : Counter
        How often each harmless outcome came up.
    failures : list of str
        Broken promises, crashes and hangs, each with the number of its case.
    """

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, told: dict[str, Any]) -> Tally:
        """What `vars` and JSON made of a tally."""
        return cls(told["cases"], Counter(told["outcomes"]), told["failures"])

    def add(self, outcome: str, count: int = 1) -> None:
        """Count a harmless case."""
        self.cases += count
        self.outcomes[outcome] += count

    def fail(self, what: str) -> None:
        """Count a broken promise."""
        self.cases += 1
        self.failures.append(what)

    def merge(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.cases += other.cases
        self.outcomes += other.outcomes
        self.failures += other.failures


def attempt(case: Case, number: int, tally: Tally) -> None:
    """Run one case in this process."""
    try:
        outcome = case(number)
    except Failure as failure:
        tally.fail(f"case {number}: {failure}")
    except Exception as error:
        tally.fail(f"case {number}: {type(error).__name__}: {error}")
    else:
        tally.add(outcome)


def run(case: Case, numbers: range) -> Tally:
    """Run cases in a forked process; when it dies, in another one from the next case on.

    Parameters
    ----------
    case : callable
        Takes a case's number, returns its outcome, raises Failure.
    numbers : range
    """
    tally = Tally()
    current = mmap.mmap(-1, 8)
    first = numbers.start
    while first < numbers.stop and len(tally.failures) < MOST_FAILURES:
        if time.monotonic() > limits.deadline:
            break
        found, died = _in_a_process(case, range(first, numbers.stop), current)
        tally.merge(found)
        if died is None:
            break
        number = struct.unpack("q", current)[0]
        tally.add("before a crash", number - first)
        tally.fail(f"case {number}: {died}")
        first = number + 1
    return tally


def _in_a_process(case: Case, numbers: range, current: mmap.mmap) -> tuple[Tally, str | None]:
    """The child's tally, or an empty one and how it died."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            _work(case, numbers, current, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Tally(), "hang" if number == signal.SIGPROF else f"crash, signal {number}"
    if os.WEXITSTATUS(status):
        return Tally(), f"crash, exit code {os.WEXITSTATUS(status)}"
    return Tally.of(json.loads(told)), None


def _work(case: Case, numbers: range, current: mmap.mmap, writing: int) -> None:
    tally = Tally()
    for number in numbers:
        current[:] = struct.pack("q", number)
        # Time of the processor: on a busy machine a second says nothing.
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        attempt(case, number, tally)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if len(tally.failures) >= MOST_FAILURES:
            break
        if number % 64 == 0 and time.monotonic() > limits.deadline:
            break
    with os.fdopen(writing, "w") as pipe:
        json.dump(vars(tally), pipe)


def kind_of(error: dcz.DczError, path: Path) -> str:
    """The outcome that an error is. Raises Failure for one that does not say what and where."""
    if error.file != str(path) or not error.cause:
        raise Failure(f"an error without file or cause: {error!r}")
    return type(error).__name__
