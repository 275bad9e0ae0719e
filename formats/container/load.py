"""All tensors of a `.dcz` file at once, as NumPy arrays."""

from __future__ import annotations

from ...codec.errors import located
from ...codec.wire.arrays import AnyArray
from .arena import Arena
from .limits import DEFAULT_LIMITS, DecodeLimits
from .reader import Path, Reader


def load_file(
    path: Path, *, jobs: int | None = None, limits: DecodeLimits = DEFAULT_LIMITS
) -> dict[str, AnyArray]:
    """Decode all tensors of a `.dcz` file.

    Tensors that were one in memory when they were packed are one array again.

    Parameters
    ----------
    path : path
    jobs : int, optional
        Threads that decode; as many as there are cores by default.
    limits : DecodeLimits
        What the file may declare.

    Raises
    ------
    CorruptError, UnsupportedError, LimitError
        If the file cannot be read.
    OSError
        If it cannot be opened.
    """
    with Reader(path, jobs=jobs, limits=limits) as archive:
        ties = archive.ties
        arena = Arena()
        infos = {name: archive.info(name) for name in archive if name not in ties}
        with located(file=archive.path):
            arrays = {name: arena.empty(info.shape, info.dtype) for name, info in infos.items()}
        archive.read_all(arrays)
        return {name: arrays[ties.get(name, name)] for name in archive}
