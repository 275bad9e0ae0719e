"""Atomic replacement of a file: there is the old one or the new one, never a third thing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# What a system or a file system answers that has no nameless files.
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS)


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a binary stream whose content replaces `path` when the block ends without exception.

    The content goes to a temporary file in the target's directory, reaches the disk, and is
    then renamed over the target. A new file's mode follows the umask, a replaced file's mode is
    kept; a symbolic link stays and what it points to is replaced. On any exception the
    temporary file is removed and the old file is untouched. Where the system can do it (Linux)
    the temporary file has no name until it is whole and on disk, just before the renaming: a
    process that is killed until then leaves nothing.
    What is not a regular file (a device, a pipe) can't be replaced: it is written to directly.

    The stream's `name` is a path under which its content can be read.

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
        stream, has_name = _create(temporary, 0o666 if mode is None else 0o600)
        try:
            with stream:
                if mode is not None:
                    os.chmod(stream.name, stat.S_IMODE(mode))
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                if not has_name:
                    _give_name(stream, temporary)
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
        name = error.filename
        unnamed = name is None or name == str(temporary) or str(name).startswith("/proc/self/fd/")
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


def _create(path: Path, mode: int) -> tuple[BinaryIO, bool]:
    """A new file's stream, and whether the file has its name yet."""
    # The system applies the umask; asking for its value would change it for all threads.
    nameless = _open_nameless(path.parent, mode)
    if nameless is None:
        return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)), True
    return open(f"/proc/self/fd/{nameless}", "wb", opener=lambda *_: nameless), False


def _give_name(stream: BinaryIO, path: Path) -> None:
    """Put a file without a name where it can be renamed from."""
    descriptor = stream.fileno()
    # The link is followed only if there is a folder that it is relative to, which it is not.
    os.link(stream.name, path, src_dir_fd=descriptor, follow_symlinks=True)


def _open_nameless(directory: Path, mode: int) -> int | None:
    """A descriptor of a new file in a directory that has no name there, None if there are none."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(directory, os.O_TMPFILE | os.O_WRONLY, mode)
    except OSError as error:
        if error.errno in _NO_NAMELESS:
            return None
        raise


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
