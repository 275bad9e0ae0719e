"""What a command line needs around its work: standard streams as files, and a progress bar."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, Self

from ..codec.errors import DczError


def printable(text: str) -> str:
    """The text with control characters escaped: a name from a file must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextlib.contextmanager
def input_path(path: str) -> Iterator[str]:
    """The path itself, or that of a temporary copy of standard input."""
    if path != "-":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dcz-") as folder:
        copy = os.path.join(folder, "standard-input")
        with open(copy, "wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        try:
            yield copy
        except DczError as error:
            if error.file == copy:
                error.file = "standard input"
            raise


@contextlib.contextmanager
def output_path(path: str, ending: str = ".dcz") -> Iterator[str]:
    """The path itself, or a temporary one whose content goes where no file can be replaced.

    That is standard output for `-`, and whatever is at the path if that is a device or a pipe.
    """
    if path != "-" and (os.path.isfile(path) or not os.path.exists(path)):
        yield path
        return
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    with tempfile.TemporaryDirectory(prefix="dcz-") as folder:
        copy = os.path.join(folder, "standard-output" + ending)
        yield copy
        with open(copy, "rb") as stream, _open_sink(path) as sink:
            shutil.copyfileobj(stream, sink)


@contextlib.contextmanager
def _open_sink(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with open(path, "wb") as sink:
            yield sink
    except OSError as error:
        error.filename = error.filename or path
        raise


class Progress:
    """A progress bar on standard error, once work has taken a second, to a terminal only.

    Without a known total it shows that work goes on.
    """

    def __init__(self, text: str, total: int | None) -> None:
        self._text = text
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._bar: Any = None

    def __call__(self, name: str, size: int) -> None:
        """Count `size` more bytes as done."""
        self._done += size
        if self._bar is None:
            if not sys.stderr.isatty() or time.monotonic() - self._started < 1:
                return
            self._show()
        self._bar.update(self._task, completed=self._done)

    def _show(self) -> None:
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._text, total=self._total)
        self._bar.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
