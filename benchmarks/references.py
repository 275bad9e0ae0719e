"""ZipNN and Blosc2, which compress without loss, run beside dcz as a process.

    python benchmarks/references.py setup        builds their environment

They live in a virtual environment of their own (default `~/.cache/dcz-benchmarks/references`, or
what DCZ_REFERENCES_ENV names). The process reads the name of a method and of an action on its
standard input, and answers with the seconds that it took.
This file is also what runs in there (`worker`), so until then it imports nothing of either side.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import time
import venv
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from timing import SelfTimed

NEEDS = ("zipnn", "blosc2")


def environment() -> Path:
    """Return the folder of the virtual environment."""
    chosen = os.environ.get("DCZ_REFERENCES_ENV")
    return Path(chosen) if chosen else Path.home() / ".cache" / "dcz-benchmarks" / "references"


def setup(folder: Path) -> None:
    """Create the environment."""
    venv.create(folder, with_pip=True, clear=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *NEEDS]
    subprocess.run(command, check=True)


class Reference:
    """One of the two at work on a file, in a process on the caller's cores."""

    def __init__(self, method: str, path: Path) -> None:
        python = environment() / "bin" / "python"
        self._process = subprocess.Popen(
            [python, __file__, "worker", method, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._name = method
        self.sizes = self._answer()

    def contestant(self, action: str) -> Callable[[], SelfTimed]:
        """Return a contestant: `compress` or `decompress`."""

        def run() -> SelfTimed:
            assert self._process.stdin is not None
            self._process.stdin.write(action + "\n")
            self._process.stdin.flush()
            return SelfTimed({f"{self._name} {action}": float(self._answer())})

        return run

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} does not answer")
        return line.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def available(method: str) -> bool:
    """Tell whether a method can be imported in the environment."""
    python = environment() / "bin" / "python"
    if not python.exists():
        return False
    probe = subprocess.run([python, "-c", f"import {method}"], capture_output=True, check=False)
    return probe.returncode == 0


def worker(method: str, path: Path) -> None:
    """Do what the lines on standard input say, once each."""
    data = path.read_bytes()
    compress, decompress = {"zipnn": zipnn, "blosc2": blosc2}[method]()
    compressed = compress(data)
    print(len(compressed), len(data), flush=True)
    while True:
        try:
            action = input()
        except EOFError:
            return
        start = time.perf_counter()
        if action == "compress":
            compress(data)
        else:
            decompress(compressed)
        print(time.perf_counter() - start, flush=True)


Codec = tuple[Callable[[bytes], Any], Callable[[Any], Any]]


def zipnn() -> Codec:
    """Return ZipNN's functions for fp32, on one thread."""
    coder = importlib.import_module("zipnn").ZipNN(
        input_format="byte", bytearray_dtype="float32", threads=1
    )
    # Compression works in place, on a copy.
    return (lambda data: coder.compress(bytearray(data))), coder.decompress


def blosc2() -> Codec:
    """Return Blosc2's functions: zstd at level 3 after a shuffle of the bytes, on one thread."""
    module = importlib.import_module("blosc2")
    settings = {"typesize": 4, "clevel": 3, "codec": module.Codec.ZSTD, "nthreads": 1}
    return (
        lambda data: module.compress2(data, **settings),
        lambda data: module.decompress2(data, nthreads=1),
    )


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Run ZipNN and Blosc2 in their environment.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="build the environment")
    inside = commands.add_parser("worker", help="(inside the environment) answer requests")
    inside.add_argument("method")
    inside.add_argument("path", type=Path)
    options = parser.parse_args()
    if options.command == "setup":
        setup(environment())
    else:
        worker(options.method, options.path)


if __name__ == "__main__":
    main()
