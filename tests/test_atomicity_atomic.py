"""The atomic writer: the old file or the new one, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from dcz.formats.atomic import atomic_writer

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes and links")
linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, content: bytes) -> None:
    with atomic_writer(path) as stream:
        stream.write(content)


def test_new_file_has_the_content_and_nothing_else_is_left(tmp_path: Path) -> None:
    write(tmp_path / "new", b"content")
    assert (tmp_path / "new").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["new"]


def test_old_file_is_whole_until_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with atomic_writer(target) as stream:
        stream.write(b"new" * 100_000)
        stream.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new" * 100_000


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, OSError])
def test_exception_leaves_the_old_file_and_no_leftovers(tmp_path: Path, kind) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(kind), atomic_writer(target) as stream:
        stream.write(b"half")
        raise kind
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_exception_before_the_first_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic_writer(tmp_path / "file"):
        raise ValueError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_failing_system_call_leaves_the_old_file(tmp_path: Path, monkeypatch, call: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space"):
        write(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_content_is_on_disk_before_the_rename_and_the_rename_after(tmp_path, monkeypatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("fsync directory" if is_directory else "fsync file")
        if not is_directory:
            assert os.fstat(descriptor).st_size == 3
        fsync(descriptor)

    def noted_replace(*paths: str) -> None:
        calls.append("replace")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write(tmp_path / "file", b"new")
    assert calls == ["fsync file", "replace", "fsync directory"]


@posix
@pytest.mark.parametrize("error, is_raised", [(errno.EINVAL, False), (errno.EIO, True)])
def test_directory_that_can_t_be_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, is_raised: bool
) -> None:
    fsync = os.fsync

    def fail_on_directories(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, os.strerror(error))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_on_directories)
    with pytest.raises(OSError) if is_raised else nullcontext():
        write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_system_without_open_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@posix
@pytest.mark.parametrize("umask, expected", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_of_a_new_file_follows_the_umask(tmp_path: Path, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "new", b"")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "new") == expected


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o777, 0o444])
def test_mode_of_a_replaced_file_is_kept(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(mode)
    write(target, b"new")
    assert (mode_of(target), target.read_bytes()) == (mode, b"new")


@posix
def test_private_file_is_never_readable_by_others_on_the_way(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o600)
    with atomic_writer(target) as stream:
        assert stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == 0o600


@posix
def test_target_of_a_link_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    real, link, chain = tmp_path / "a" / "real", tmp_path / "link", tmp_path / "chain"
    real.write_bytes(b"old")
    link.symlink_to("a/real")
    chain.symlink_to(link)
    write(chain, b"new")
    assert real.read_bytes() == b"new"
    assert link.is_symlink() and chain.is_symlink() and not real.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a", "chain", "link"]


@posix
def test_dangling_link_gets_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("missing")
    write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "missing").read_bytes() == b"new"


@posix
def test_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    os.link(tmp_path / "file", tmp_path / "other")
    write(tmp_path / "file", b"new")
    assert (tmp_path / "other").read_bytes() == b"old"


def test_directory_is_refused_before_the_block_runs(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), atomic_writer(tmp_path):
        pytest.fail("the block ran")


def test_missing_directory_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "missing" / "file", b"")


@posix
def test_device_is_written_to_and_not_replaced() -> None:
    write(Path("/dev/null"), b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@posix
def test_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"through")
    reader.join()
    assert received == [b"through"]
    assert os.listdir(tmp_path) == ["pipe"]


def test_longest_name_still_has_room_for_a_temporary(tmp_path: Path) -> None:
    write(tmp_path / ("n" * 255), b"new")
    assert os.listdir(tmp_path) == ["n" * 255]


@linux
def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    def descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    before = descriptors()
    write(tmp_path / "file", b"1")
    with pytest.raises(ValueError), atomic_writer(tmp_path / "file") as stream:
        stream.write(b"2")
        raise ValueError
    with pytest.raises(IsADirectoryError):
        write(tmp_path, b"")
    assert descriptors() == before


@linux
def test_full_disk_is_an_os_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    target = tmp_path / "file"
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            write(target, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


nameless = pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs nameless files")


@linux
@nameless
def test_killed_process_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        with atomic_writer(target) as stream:
            stream.write(b"new" * 100_000)
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@linux
@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EISDIR])
def test_file_system_without_nameless_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    real = os.open

    def without(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(error, os.strerror(error))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", without)
    with atomic_writer(tmp_path / "file") as stream:
        stream.write(b"new")
        assert len(os.listdir(tmp_path)) == 1
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_system_without_nameless_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@linux
@nameless
def test_directory_that_refuses_files_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        write(tmp_path / "file", b"new")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


@linux
def test_content_can_be_read_under_the_stream_s_name(tmp_path: Path) -> None:
    with atomic_writer(tmp_path / "file") as stream:
        stream.write(b"new")
        stream.flush()
        assert Path(stream.name).read_bytes() == b"new"
