"""Times that can be compared: chosen cores, contestants in turn, medians."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Command = Sequence[str | Path]
Contestants = Mapping[str, Callable[[], object]]
Samples = dict[str, list[float]]

_CAN_BIND = hasattr(os, "sched_setaffinity")
_CORES = sorted(os.sched_getaffinity(0)) if _CAN_BIND else []


@dataclass(frozen=True, slots=True)
class SelfTimed:
    """What a contestant returns that measured itself, in another process: seconds by name."""

    seconds: dict[str, float]


def folder_in_memory() -> Path | None:
    """A folder whose files are in memory, so that no disk is timed; None without one."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


def run_on_one_core() -> None:
    """Bind this process, and every one that it starts, to a single core."""
    run_on_cores(1)


def run_on_cores(count: int) -> None:
    """Bind this thread, and every thread and process that it starts, to the idlest cores.

    Nothing happens where the system has no such call.
    """
    if _CAN_BIND:
        os.sched_setaffinity(0, set(_idlest_first()[:count]))


@cache
def _idlest_first() -> list[int]:
    """The cores in the order of how little others used them for a moment, at the first call."""
    before = _idle_times()
    time.sleep(0.3)
    after = _idle_times()
    return sorted(_CORES, key=lambda core: before.get(core, 0) - after.get(core, 0))


def _idle_times() -> dict[int, int]:
    """How long each core was idle since the start of the system; empty where it does not tell."""
    statistics_of_cores = Path("/proc/stat")
    if not statistics_of_cores.exists():
        return {}
    lines = [line.split() for line in statistics_of_cores.read_text().splitlines()]
    return {int(line[0][3:]): int(line[4]) for line in lines if line[0][3:].isdigit()}


def cores() -> int:
    """Return how many cores there were for this process at its start."""
    return len(_CORES) if _CAN_BIND else os.cpu_count() or 1


def samples(contestants: Contestants, rounds: int) -> Samples:
    """Return each contestant's seconds, one a round: A B A B ..., after a round of warm-up."""
    seconds: Samples = {}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            result = contestant()
            taken = {name: time.perf_counter() - start}
            if isinstance(result, SelfTimed):
                taken = result.seconds
            for each, value in taken.items() if number else ():
                seconds.setdefault(each, []).append(value)
    return seconds


def interleaved(contestants: Contestants, rounds: int) -> dict[str, float]:
    """Return the median seconds of each contestant, all run once a round after a warm-up."""
    measured = samples(contestants, rounds)
    return {name: statistics.median(each) for name, each in measured.items()}


def running(command: Command) -> Callable[[], object]:
    """Return a contestant that runs a command silently; it raises where the command fails."""

    def contestant() -> object:
        return subprocess.run(command, check=True, capture_output=True)

    return contestant


def machine() -> str:
    """Return the processor's name and the number of cores, as far as the system tells."""
    name = platform.machine()
    description = Path("/proc/cpuinfo")
    if description.exists():
        for line in description.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )
