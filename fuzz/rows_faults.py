"""Writing while the machine fails: killed processes, full disks, calls that return errors.

Whatever happens while a file is packed onto another, the old file or the new one is there, byte
for byte, and nothing else. Calls are made to fail by `fail_nth.c`, which the process preloads.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from workers import Tally

import dcz

HERE = Path(__file__).parent
ENOUGH_SECONDS = 30
FIRST_MALLOCS = 200
RECIPE = dcz.Recipe(bits=4, sparsity=0.5)
CALLS = {
    "write": [errno.ENOSPC, errno.EIO],
    "fsync": [errno.EIO, errno.ENOSPC],
    "rename": [errno.EIO, errno.EACCES],
    "link": [errno.EIO, errno.EPERM],
    "open": [errno.EMFILE, errno.EACCES],
    "close": [errno.EIO, errno.ENOSPC],
    "ftruncate": [errno.EIO],
    "mmap": [errno.ENOMEM],
}


def tensors(seed: int, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """A model to pack, another one for each seed."""
    random = np.random.default_rng(seed)
    large = {f"w{i}": random.normal(size=(rows, 300)).astype(np.float32) for i in range(3)}
    return large | {f"b{i}": random.normal(size=30).astype(np.float32) for i in range(3)}


class Target:
    """A packed file in a folder of its own, to pack another model onto."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.path = self.folder / "model.dcz"
        self._model = tensors(2, rows)
        self.pack()
        self.new = self.path.read_bytes()
        dcz.save_file(tensors(1, rows), self.path, RECIPE, jobs=1)
        self.old = self.path.read_bytes()

    def pack(self) -> None:
        """Pack the new model onto whatever is there."""
        dcz.save_file(self._model, self.path, RECIPE, jobs=1)

    def check(self, what: str, tally: Tally, leftovers_allowed: bool = False) -> None:
        """Count the state of the folder, and make it the old one again."""
        names = sorted(os.listdir(self.folder))
        found = self.path.read_bytes() if self.path.exists() else b""
        if found not in (self.old, self.new):
            tally.fail(f"{what}: neither the old file nor the new one")
        elif names != ["model.dcz"] and not leftovers_allowed:
            tally.fail(f"{what}: left {names}")
        else:
            tally.add("the new file" if found == self.new else "the old file")
        for name in names:
            os.unlink(self.folder / name)
        self.path.write_bytes(self.old)


def killed(folder: Path, times: int) -> Tally:
    """A process killed (signal 9) at a random moment of packing onto an existing file."""
    target = Target(folder, rows=200)
    generator = random.Random(1)
    started = time.monotonic()
    for _ in range(5):
        target.pack()
    usual = (time.monotonic() - started) / 5
    target.path.write_bytes(target.old)
    tally = Tally()
    for number in range(times):
        child = os.fork()
        if child == 0:
            try:
                target.pack()
            finally:
                os._exit(0)
        # Half of the kills fall into the last part, where the file is put into its place.
        part = generator.uniform(0.8, 1.5) if number % 2 else generator.random()
        time.sleep(part * usual)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        target.check(f"kill {number}", tally)
    return tally


def failing_calls(folder: Path, mallocs: int) -> Tally:
    """The N-th call fails, for every N; of those of malloc the first ones and `mallocs` others."""
    library = folder / "fail_nth.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "fail_nth.c", "-ldl"], check=True
    )
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
    command = [sys.executable, __file__, str(folder), str(library), str(mallocs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    tally = Tally()
    for line in done.stdout.splitlines():
        kind, _, what = line.partition(" ")
        if kind == "ok":
            tally.add(what)
        else:
            tally.fail(what)
    if done.returncode or not tally.cases:
        tally.fail(f"the process that runs the cases ended with {done.returncode}: {done.stderr}")
    return tally


def _main(folder: Path, library: str, mallocs: int) -> None:
    """Run all cases of `failing_calls`, with the library preloaded."""
    shim = ctypes.CDLL(library)
    shim.fail_nth_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    shim.fail_nth_disarm.restype = ctypes.c_long
    target = Target(folder, rows=20)
    for function, errors in CALLS.items():
        for error in errors:
            for lasting in (0, 1):
                every = range(1, _calls(shim, target, function) + 1)
                _each(shim, target, function, error, lasting, every)
    calls = _calls(shim, target, "malloc")
    # The first ones describe the tensors, where a library that is asked for it may crash.
    _each(shim, target, "malloc", errno.ENOMEM, 0, range(1, FIRST_MALLOCS))
    _each(shim, target, "malloc", errno.ENOMEM, 0, range(1, calls + 1, max(calls // mallocs, 1)))
    few = max(calls // mallocs * 4, 1)
    _each(shim, target, "malloc", errno.ENOMEM, 1, range(1, calls + 1, few))


def _calls(shim: Any, target: Target, function: str) -> int:
    """How often a whole packing calls a function."""
    shim.fail_nth_arm(function.encode(), 1 << 40, 0, 0)
    target.pack()
    calls = int(shim.fail_nth_disarm())
    target.path.write_bytes(target.old)
    return calls


def _each(
    shim: Any, target: Target, function: str, error: int, lasting: int, numbers: Iterable[int]
) -> None:
    for nth in numbers:
        what = f"{function} {nth} {errno.errorcode[error]}{' and after' if lasting else ''}"
        status = _packed_in_a_child(shim, target, (function.encode(), nth, error, lasting))
        tally = Tally()
        if os.WIFSIGNALED(status):
            tally.fail(f"{what}: died of signal {os.WTERMSIG(status)}")
        target.check(what, tally)
        for outcome in tally.outcomes:
            print("ok", f"{outcome} ({'raised' if status else 'no error'})")
        for failure in tally.failures:
            print("bad", failure)
        sys.stdout.flush()


def _packed_in_a_child(shim: Any, target: Target, arming: tuple[Any, ...]) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(ENOUGH_SECONDS)
        code = 3
        try:
            shim.fail_nth_arm(*arming)
            target.pack()
            code = 0
        except (OSError, MemoryError, dcz.DczError):
            code = 1
        except BaseException:
            code = 2
        finally:
            shim.fail_nth_disarm()
            os._exit(code)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
