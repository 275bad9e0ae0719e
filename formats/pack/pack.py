"""Packing a checkpoint, or tensors in memory, into a `.dcz` file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from ...codec.errors import DczError, located
from ...codec.rate.recipe import Recipe
from ...codec.report.report import Report
from ...codec.wire.arrays import AnyArray
from ..atomic import atomic_writer
from ..checkpoints.base import Checkpoint
from ..checkpoints.left_out import left_out_in_short
from ..checkpoints.numpy_files.npz import MappingCheckpoint
from ..checkpoints.pytorch.state_dict import StateDictCheckpoint
from ..checkpoints.registry import open_checkpoint
from ..container.reader import Path
from ..report.archive import Archive
from .attempts import Attempts
from .packer import Progress

if TYPE_CHECKING:
    import torch


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


def save_file(
    tensors: Mapping[str, AnyArray],
    path: Path,
    recipe: Recipe | None = None,
    *,
    jobs: int | None = None,
    notes: Mapping[str, str] | None = None,
) -> Report:
    """Pack arrays into a `.dcz` file; see `pack`. The arrays are not changed."""
    return pack(MappingCheckpoint(tensors), path, recipe, jobs=jobs, notes=notes)


def save_state_dict(
    state_dict: Mapping[str, torch.Tensor],
    path: Path,
    recipe: Recipe | None = None,
    *,
    jobs: int | None = None,
    notes: Mapping[str, str] | None = None,
) -> Report:
    """Pack a PyTorch state dict into a `.dcz` file; see `pack`. The tensors are not changed.

    Pairs `weight_orig` and `weight_mask` of torch.nn.utils.prune become the pruned weight.
    """
    return pack(StateDictCheckpoint(state_dict), path, recipe, jobs=jobs, notes=notes)
