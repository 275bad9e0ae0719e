"""Atomic replacement of a file: there is the old one or the new one, never a third thing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a binary stream whose content replaces `path` when the block ends without exception.

    The content goes to a temporary file beside the target, reaches the disk, and is then
    renamed over it. A new file's mode follows the umask, a replaced file's mode is kept; a
    symbolic link stays and what it points to is replaced. On any exception the temporary
    file is removed and the old file is untouched. What is not a regular file (a device, a
    pipe) can't be replaced: it is written to directly.

    Raises
    ------
    OSError
        The directory, the file or the disk does not allow it.
    """
    mode = _mode_of(path)
    if mode is not None and not stat.S_ISREG(mode):
        with _named(path), open(path, "wb") as direct:
            yield direct
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".dcz-{os.urandom(8).hex()}.tmp")
    with _named(path, temporary):
        # Whoever may not read the old file may not read the new one while it grows either.
        stream = _create(temporary, 0o666 if mode is None else 0o600)
        try:
            with stream:
                if mode is not None:
                    os.chmod(temporary, stat.S_IMODE(mode))
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_directory(target.parent)


@contextmanager
def _named(path: str | os.PathLike[str], temporary: Path | None = None) -> Iterator[None]:
    """Let errors name the file that was asked for: nobody knows of the temporary one."""
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or error.filename == str(temporary)
        if error.errno is None or not unnamed:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _mode_of(path: str | os.PathLike[str]) -> int | None:
    """Return the mode of what `path` leads to, None if nothing is there; refuse a directory."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    return mode


def _create(path: Path, mode: int) -> BinaryIO:
    # The system applies the umask; asking for its value would change it for all threads.
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))


def _sync_directory(directory: Path) -> None:
    """Make a rename durable, on systems where a directory can be opened and synchronised."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)
