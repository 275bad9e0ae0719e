"""Packing a checkpoint into a `.dcz` file, and unpacking it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext

import numpy as np

from dcz.codec.errors import DczError, located
from dcz.codec.frame import AnyArray
from dcz.codec.recipe import Recipe
from dcz.codec.report import Report
from dcz.formats.archive import Archive
from dcz.formats.atomic import atomic_writer
from dcz.formats.attempts import Attempts
from dcz.formats.checkpoint import (
    ONE_AT_A_TIME,
    format_of_ending,
    open_checkpoint,
    write_checkpoint,
)
from dcz.formats.left_out import left_out_in_short
from dcz.formats.limits import DEFAULT_LIMITS, DecodeLimits
from dcz.formats.packer import Progress
from dcz.formats.rebuild import write_everything
from dcz.formats.structure import STRUCTURE_KEY
from dcz.formats.tensors import Checkpoint, TensorInfo

Path = str | os.PathLike[str]


def pack(
    source: Path | Checkpoint,
    dest: Path,
    recipe: Recipe | None = None,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
    notes: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Report:
    """Pack a checkpoint into a `.dcz` file.

    The file appears under its name only when it is whole and has been decoded and compared.

    Parameters
    ----------
    source : path or Checkpoint
        A `.safetensors`, `.pt`, `.pth`, `.npz` or `.npy` file, or an open checkpoint.
    dest : path
        The file to write; replaced atomically.
    recipe : Recipe, optional
        What to do with which tensor; by default nothing is pruned and the relative
        squared error of the layers stays within 3e-4.
    jobs : int, optional
        Threads; as many as there are cores by default. The file does not depend on it.
    progress : callable, optional
        Called with a tensor's name and its number of bytes when it has been encoded.
    notes : mapping of str to str, optional
        What to keep beside the source's metadata, such as the error that the model was measured at.
    key : str, optional
        Which part of a training checkpoint to pack, if `source` is a path; see `open_checkpoint`.

    Warns
    -----
    UserWarning
        If the file at a path holds anything else than what is packed, with its names.

    Returns
    -------
    Report

    Raises
    ------
    InputError, UnsupportedError
        If the source cannot be read.
    RecipeError
        If the recipe does not fit the checkpoint.
    OSError
        If a file cannot be read or written.
    """
    opened = nullcontext(source) if isinstance(source, Checkpoint) else _opened(source, key)
    with opened as checkpoint, atomic_writer(dest) as stream, located(file=checkpoint.path):
        checkpoint.metadata = checkpoint.metadata | dict(notes or {})
        attempts = Attempts(checkpoint, stream, recipe or Recipe(), jobs, progress)
        packer = attempts.run()
        stream.flush()
        with _told_of(dest), Archive(stream.name, jobs=jobs) as archive:
            verify(archive)
            return attempts.complete(archive.report(packer.descriptions), packer)


def _opened(source: Path, key: str | None) -> Checkpoint:
    checkpoint = open_checkpoint(source, key=key)
    if left_out := left_out_in_short(checkpoint):
        warnings.warn(left_out, stacklevel=3)
    return checkpoint


@contextmanager
def _told_of(dest: Path) -> Iterator[None]:
    """Let errors name the file that is to be: nobody knows of the temporary one."""
    try:
        yield
    except DczError as error:
        error.file = os.fspath(dest)
        raise


def verify(archive: Archive, progress: Progress | None = None) -> None:
    """Decode every tensor and check every checksum and digest. Raises CorruptError."""
    ties = archive.ties
    for name in archive:
        if name in ties:
            continue
        archive.verify(name)
        if progress is not None:
            progress(name, archive.info(name).nbytes)


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
    with closing(Archive(source, jobs=jobs, limits=limits)) as archive:
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
