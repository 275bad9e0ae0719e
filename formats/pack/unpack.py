"""From a `.dcz` file back to a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from ...codec.errors import located
from ...codec.wire.arrays import AnyArray
from ..atomic import atomic_writer
from ..checkpoints.pytorch.rebuild import write_everything
from ..checkpoints.pytorch.structure import STRUCTURE_KEY
from ..checkpoints.registry import ONE_AT_A_TIME, format_of_ending, write_checkpoint
from ..container.limits import DEFAULT_LIMITS, DecodeLimits
from ..container.reader import Path, Reader
from ..container.tensor_info import TensorInfo
from .packer import Progress


class _Room:
    """Memory for one tensor after the other, as large as the largest of them."""

    def __init__(self, infos: Sequence[TensorInfo]) -> None:
        self._memory = np.empty(max((info.nbytes for info in infos), default=0), np.uint8)

    def array(self, info: TensorInfo) -> AnyArray:
        """The memory as an array for this tensor; the one before it is overwritten."""
        return self._memory[: info.nbytes].view(info.dtype).reshape(info.shape)


def unpack(
    source: Path,
    dest: Path,
    *,
    jobs: int | None = None,
    tensor: str | None = None,
    limits: DecodeLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> None:
    """Unpack a `.dcz` file into a checkpoint.

    One that was packed with everything becomes the training checkpoint again in a `.pt` file.

    Parameters
    ----------
    source : path
        The `.dcz` file.
    dest : path
        The file to write, replaced atomically; its ending gives the format.
    jobs : int, optional
        Threads that decode; as many as there are cores by default.
    tensor : str, optional
        The only tensor to unpack.
    limits : DecodeLimits
        What the source may declare.
    progress : callable, optional
        Called with a tensor's name and its number of bytes when it is about to be written.

    Raises
    ------
    CorruptError, UnsupportedError, LimitError
        If the source cannot be read.
    KeyError
        If there is no such tensor.
    OSError
        If a file cannot be read or written.
    """
    with closing(Reader(source, jobs=jobs, limits=limits)) as archive:
        names = [tensor] if tensor is not None else list(archive)
        infos = [archive.info(name) for name in names]
        room = _Room(infos) if format_of_ending(dest) in ONE_AT_A_TIME else None

        def read(name: str) -> AnyArray:
            info = archive.info(name)
            if progress is not None:
                progress(name, info.nbytes)
            return archive[name] if room is None else archive.read(name, room.array(info))

        ties = {n: first for n, first in archive.ties.items() if tensor is None}
        structure = archive.metadata.get(STRUCTURE_KEY)
        if structure is not None and tensor is None and format_of_ending(dest) == "torch":
            with located(file=archive.path), atomic_writer(dest) as stream:
                write_everything(stream, structure, read, ties)
            return
        write_checkpoint(dest, infos, read, archive.metadata, ties)
