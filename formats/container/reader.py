"""An open `.dcz` file: a lazy mapping from names to arrays."""

from __future__ import annotations

import math
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...codec import kernels
from ...codec.errors import ChecksumError, TruncatedError, located
from ...codec.kernels.digest import Digests
from ...codec.wire.arrays import AnyArray, numel, split
from .arena import empty
from .container import Container
from .digest import CHUNK, combine, empty_digests, tensor_digest
from .index import TensorEntry
from .limits import DEFAULT_LIMITS, DecodeLimits
from .tensor_info import TensorInfo
from .threads import Threads

if TYPE_CHECKING:
    from ...codec.decode.frame import FrameDecoder

Path = str | os.PathLike[str]

# What a thread decodes at a time, whole chunks of digests. The NumPy backend works on all segments
# of a task in step, so that larger tasks are faster there.
_TASK_BYTES = 2 * CHUNK if kernels.BACKEND == "c" else 64 * CHUNK
_KEPT_GROUPS = 4


class Reader(Mapping[str, AnyArray]):
    """A `.dcz` file, open for reading.

    A mapping from the tensors' names, in the order of the source, to arrays. Each look-up decodes
    its tensor anew. All methods may be called from several threads at once. As a context manager
    it closes the file at the end.

    Attributes
    ----------
    path : str
        The file.
    metadata : dict of str to str
        The user's own.
    container : Container
    stored : list of list of TensorEntry
        The tensors of each frame.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        jobs: int | None = None,
        limits: DecodeLimits = DEFAULT_LIMITS,
        check_digests: bool = True,
    ) -> None:
        """Open a file and read its index.

        Parameters
        ----------
        path : path
            The file; it is mapped into memory, not read.
        jobs : int, optional
            Threads that decode; as many as there are cores by default.
        limits : DecodeLimits
            What the file may declare.
        check_digests : bool
            Whether to compare decoded tensors with their digests too, which takes a fifth of the
            time. Checksums of the coded bytes, which find every damage to the file, are compared
            always; digests find a decoder or a machine that errs.

        Raises
        ------
        CorruptError, UnsupportedError, LimitError
            If the file cannot be read, with the reason.
        OSError
            If it cannot be opened.
        """
        self.path = os.fspath(path)
        self._check_digests = check_digests
        self._jobs = jobs or os.cpu_count() or 1
        self._start_over()
        self._groups: dict[int, dict[str, AnyArray]] = {}
        self._scratch = _Scratch()
        with located(file=self.path):
            self._map = _map_file(self.path)
            self.container = Container(memoryview(self._map), limits)
        self._entries = self.container.index.tensors
        self.stored: list[list[TensorEntry]] = [[] for _ in self.container.index.frames]
        for entry in self._entries.values():
            if entry.alias_of is None:
                self.stored[entry.frame].append(entry)
        self.metadata = dict(self.container.index.metadata)

    def __getitem__(self, name: str) -> AnyArray:
        """Decode a tensor.

        Raises KeyError for an unknown name, CorruptError for bad data, LimitError for more of it
        than there is memory.
        """
        entry = self._entries[name]
        with located(file=self.path, tensor=name):
            out = empty(entry.info.shape, entry.info.dtype)
        return self.read(name, out)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def info(self, name: str) -> TensorInfo:
        """Name, dtype and shape of a tensor, without decoding it."""
        return self._entries[name].info

    @property
    def size(self) -> int:
        """Size of the file, in bytes."""
        return self.container.size

    @property
    def frames(self) -> int:
        """How many frames hold the tensors, each under a checksum of its own."""
        return len(self.stored)

    @property
    def ties(self) -> dict[str, str]:
        """For each tensor that was another one in memory too, the other's name."""
        return {n: e.alias_of for n, e in self._entries.items() if e.tied and e.alias_of}

    def coder(self, name: str) -> str:
        """Name of the coder of a tensor."""
        return self.container.coder_name(self._entries[name].frame)

    def is_exact(self, name: str) -> bool:
        """Whether a tensor comes back bit for bit as it was packed."""
        return self._entries[name].relative_error is None

    def read(self, name: str, out: AnyArray) -> AnyArray:
        """Decode a tensor into an array and return it.

        Parameters
        ----------
        name : str
        out : array
            C-contiguous and writable, of the tensor's dtype and shape.

        Raises
        ------
        KeyError
            If there is no such tensor.
        ValueError
            If `out` does not fit.
        CorruptError
            If a checksum or digest does not match, or the coded bytes break the format.
        """
        if self._jobs == 1 or out.nbytes <= _TASK_BYTES:
            self._read_alone(name, out)
        else:
            self._start([name], {name: out})()
        return out

    def read_all(self, outs: Mapping[str, AnyArray]) -> None:
        """Decode several tensors into arrays, side by side where there are threads.

        Parameters
        ----------
        outs : mapping from name to array
            As `read` takes them.

        Raises
        ------
        KeyError, ValueError, CorruptError
            As `read`. Threads may still write to the arrays until the archive is closed.
        """
        if self._jobs == 1:
            for name, out in outs.items():
                self._read_alone(name, out)
            return
        by_frame: dict[int, list[str]] = {}
        for name in outs:
            by_frame.setdefault(self._entries[name].frame, []).append(name)
        # What takes longest begins first, so that no thread is left alone with it in the end.
        lengths = {frame: self.container.index.frames[frame].length for frame in by_frame}
        order = sorted(by_frame, key=lengths.__getitem__, reverse=True)
        for wait in [self._start(by_frame[frame], outs) for frame in order]:
            wait()

    def _start(self, names: Sequence[str], outs: Mapping[str, AnyArray]) -> Callable[[], object]:
        """Start to decode tensors of one frame; what is returned waits until they are done."""
        entry, out = self._entries[names[0]], outs[names[0]]
        if len(names) > 1 or out.nbytes <= _TASK_BYTES:
            # Small: one thread does it all, and other threads do others.
            return self._pool().start(partial(self._read_each, names, outs)).wait
        _check_fits(out, entry.info)
        flat = out.reshape(-1)
        digests = empty_digests(out.nbytes) if self._check_digests else None
        with located(file=self.path, tensor=entry.info.name):
            tasks = self._tasks(entry, lambda i, j: flat[i:j], digests)
            running = [self._pool().start(task) for task in tasks]

        def wait() -> None:
            with located(file=self.path, tensor=entry.info.name):
                for part in running:
                    part.wait()
                self._compare_chunks(digests, entry)

        return wait

    def _read_each(self, names: Sequence[str], outs: Mapping[str, AnyArray]) -> None:
        for name in names:
            self._read_alone(name, outs[name])

    def _read_alone(self, name: str, out: AnyArray) -> None:
        """Decode a tensor in this thread."""
        entry = self._entries[name]
        _check_fits(out, entry.info)
        flat = out.reshape(-1)
        with located(file=self.path, tensor=name):
            if len(self.stored[entry.frame]) > 1:
                flat[:] = self._from_group(entry)
                if self._check_digests:
                    self._compare(tensor_digest(flat), entry)
                return
            digests = empty_digests(out.nbytes) if self._check_digests else None
            self._open(entry).decode(0, flat.size, flat, digests)
            self._compare_chunks(digests, entry)

    def verify(self, name: str) -> None:
        """Decode a tensor, check its frame's checksum and its own digest, and keep nothing.

        Raises
        ------
        KeyError
            If there is no such tensor.
        CorruptError
            If a checksum or digest does not match, or the coded bytes break the format.
        """
        entry = self._entries[name]
        with located(file=self.path, tensor=name):
            if len(self.stored[entry.frame]) > 1:
                self._compare(tensor_digest(self._from_group(entry)), entry)
                return
            digests = empty_digests(entry.info.nbytes)
            place = partial(self._scratch.part, entry.info.dtype)
            self._run(list(self._tasks(entry, place, digests)))
            self._compare_chunks(digests, entry)

    def _compare_chunks(self, digests: Digests | None, entry: TensorEntry) -> None:
        """Raise ChecksumError unless the chunks' digests, if there are any, are the tensor's."""
        if digests is not None:
            self._compare(combine(digests.tolist()), entry)

    def _compare(self, digest: int, entry: TensorEntry) -> None:
        kept = self.container.index.frames[entry.frame].digest_bytes
        if digest % (1 << 8 * kept) != entry.digest:
            raise ChecksumError("digest of the decoded tensor does not match")

    def _open(self, entry: TensorEntry) -> FrameDecoder:
        return self.container.open_frame(entry.frame)

    def _tasks(
        self, entry: TensorEntry, place: Callable[[int, int], AnyArray], digests: Digests | None
    ) -> Iterator[Callable[[], None]]:
        """Decode a frame's only tensor into what `place` gives: parts to do in any order."""
        decoder = self._open(entry)
        size, itemsize = entry.info.numel, entry.info.dtype.itemsize
        # A part is whole units of the decoder, and whole chunks of the digest.
        step = math.lcm(decoder.unit, _TASK_BYTES // itemsize)
        for start in range(0, max(size, 1), step):
            stop = min(start + step, size)
            chunks = slice(start * itemsize // CHUNK, max(-(-stop * itemsize // CHUNK), 1))
            own = None if digests is None else digests[chunks]
            yield partial(_decode_part, decoder, start, stop, place, own)

    def _run(self, tasks: Sequence[Callable[[], None]]) -> None:
        if len(tasks) == 1 or self._jobs == 1:
            for task in tasks:
                task()
            return
        for job in [self._pool().start(task) for task in tasks]:
            job.wait()

    def _start_over(self) -> None:
        """Begin without threads: what a fork copies is the archive, not they."""
        self._process = os.getpid()
        self._threads: Threads | None = None
        self._lock = threading.Lock()

    def _pool(self) -> Threads:
        if self._process != os.getpid():
            self._start_over()
        with self._lock:
            if self._threads is None:
                self._threads = Threads(self._jobs)
            return self._threads

    def _from_group(self, entry: TensorEntry) -> AnyArray:
        """A tensor out of a frame of several, which is kept for the next of them."""
        name = entry.alias_of or entry.info.name
        if self._process != os.getpid():
            self._start_over()
        with self._lock:
            arrays = self._groups.get(entry.frame)
        if arrays is None:
            members = self.container.members(entry.frame)
            flat = np.empty(numel(members), members[0].dtype)
            self._open(entry).decode(0, flat.size, flat)
            names = [stored.info.name for stored in self.stored[entry.frame]]
            arrays = dict(zip(names, split(flat, members), strict=True))
            with self._lock:
                while len(self._groups) >= _KEPT_GROUPS:
                    self._groups.pop(next(iter(self._groups)))
                self._groups[entry.frame] = arrays
        return arrays[name]

    def close(self) -> None:
        """Close the file; arrays that were decoded stay valid."""
        if self._threads is not None and self._process == os.getpid():
            self._threads.close()
        with suppress(BufferError):
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _map_file(path: str) -> mmap.mmap:
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            raise TruncatedError("the file is empty")
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


class _Scratch(threading.local):
    """Memory to decode into and forget, one piece for each thread."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def part(self, dtype: np.dtype[Any], start: int, stop: int) -> AnyArray:
        size = (stop - start) * dtype.itemsize
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size].view(dtype)


def _decode_part(
    decoder: FrameDecoder,
    start: int,
    stop: int,
    place: Callable[[int, int], AnyArray],
    digests: Digests | None,
) -> None:
    """Decode a part of a frame; the place is asked for in the thread that fills it."""
    decoder.decode(start, stop, place(start, stop), digests)


def _check_fits(out: AnyArray, info: TensorInfo) -> None:
    if out.dtype != info.dtype or out.shape != info.shape:
        raise ValueError(
            f"{info.name!r} is {info.dtype}{list(info.shape)}, "
            f"the array is {out.dtype}{list(out.shape)}"
        )
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"{info.name!r} needs a C-contiguous array that can be written to")
