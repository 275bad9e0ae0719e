"""Opens a checkpoint of any known format and writes one: the table of formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

from ...codec.errors import InputError, RecipeError, UnsupportedError, located
from ..atomic import atomic_writer
from ..container.container import MAGIC
from ..container.limits import DEFAULT_LIMITS, DecodeLimits
from ..container.tensor_info import TensorInfo
from .base import Checkpoint, Read, checked_info
from .dcz import DczCheckpoint
from .numpy_files.npy import NpyCheckpoint
from .numpy_files.npz import NpzCheckpoint, write_npz
from .numpy_files.zip_damage import zip_members
from .pytorch.file import TorchCheckpoint, write_torch
from .safetensors import MAX_HEADER_BYTES, SafetensorsCheckpoint, write_safetensors
from .sharded import ShardedCheckpoint

__all__ = [
    "ENDINGS",
    "ONE_AT_A_TIME",
    "READERS",
    "WRITERS",
    "Checkpoint",
    "TensorInfo",
    "checked_info",
    "format_of_ending",
    "open_checkpoint",
    "write_checkpoint",
]

Path_: TypeAlias = str | os.PathLike[str]
Writer: TypeAlias = Callable[
    [BinaryIO, Sequence[TensorInfo], Read, Mapping[str, str], Mapping[str, str]], None
]

ENDINGS = {
    ".safetensors": "safetensors",
    ".safetensors.index.json": "safetensors-index",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
    ".npz": "npz",
    ".npy": "npy",
    ".dcz": "dcz",
}

READERS: dict[str, Callable[[Path_], Checkpoint]] = {
    "safetensors": SafetensorsCheckpoint,
    "safetensors-index": ShardedCheckpoint,
    "torch": TorchCheckpoint,
    "npz": NpzCheckpoint,
    "npy": NpyCheckpoint,
    "dcz": DczCheckpoint,
}

WRITERS: dict[str, Writer] = {
    "safetensors": write_safetensors,
    "torch": write_torch,
    "npz": write_npz,
}


# Formats whose writer is done with a tensor before it asks for the next.
ONE_AT_A_TIME = ("safetensors", "npz")


def open_checkpoint(
    path: Path_, limits: DecodeLimits = DEFAULT_LIMITS, *, key: str | None = None
) -> Checkpoint:
    """Open a checkpoint, whose format is told by its content or, failing that, by its ending.

    Parameters
    ----------
    path : path
    limits : DecodeLimits
        What a `.dcz` file may declare.
    key : str, optional
        Which part of a training checkpoint is meant, joined by dots: "model_ema",
        "callbacks.EMA.weights". By default it is the state dict, under any of the usual names.

    Raises
    ------
    RecipeError
        There are no tensors under the key, or the format has no keys.
    InputError
        The file can't be read as a checkpoint of its format.
    UnsupportedError
        Neither content nor ending is of a known format, or an element type is not known.
    OSError
        The file can't be opened.
    """
    found = format_of_file(path)
    if found is None:
        known = ", ".join(ENDINGS)
        raise UnsupportedError(f"not a known format (known: {known})", file=os.fspath(path))
    if found == TorchCheckpoint.format:
        return TorchCheckpoint(path, key)
    if key is not None:
        raise RecipeError("only files of PyTorch have keys", file=os.fspath(path))
    if found == DczCheckpoint.format:
        return DczCheckpoint(path, limits)
    return READERS[found](path)


def write_checkpoint(
    target: Path_ | BinaryIO,
    infos: Sequence[TensorInfo],
    read: Read,
    metadata: Mapping[str, str] | None = None,
    ties: Mapping[str, str] | None = None,
    format: str | None = None,
) -> None:
    """Write tensors to a file, which is replaced atomically, or to an open binary stream.

    Parameters
    ----------
    target : path or binary stream
        A path's ending gives the format, unless `format` does; a stream needs `format`.
    infos : sequence of TensorInfo
        All tensors, tied ones included.
    read : callable
        Gives the array of a name; called once for each, one after the other.
    metadata : mapping of str to str, optional
        Kept where the format has a place for it (safetensors).
    ties : mapping of str to str, optional
        Name to an earlier name with the same memory; kept where the format has ties (torch).
    format : str, optional
        A key of `WRITERS`.

    Raises
    ------
    UnsupportedError
        The ending or the format is not known, or the format can't hold a tensor; no file
        has been touched then.
    OSError
        The file can't be written.
    """
    if not isinstance(target, (str, os.PathLike)):
        with located(file="<stream>"):
            _writer(format)(target, infos, read, metadata or {}, ties or {})
        return
    with located(file=os.fspath(target)):
        write = _writer(format or format_of_ending(target))
        with atomic_writer(target) as stream:
            write(stream, infos, read, metadata or {}, ties or {})


def format_of_file(path: Path_) -> str | None:
    """Return the format of a file by its content or, failing that, by its ending."""
    return _format_of_content(path) or format_of_ending(path)


def format_of_ending(path: Path_) -> str | None:
    """Return the format that a file's ending stands for, None if it is not known."""
    name = Path(path).name.lower()
    return next((ENDINGS[ending] for ending in ENDINGS if name.endswith(ending)), None)


def _writer(format: str | None) -> Writer:
    if format in WRITERS:
        return WRITERS[format]
    known = ", ".join(ending for ending, name in ENDINGS.items() if name in WRITERS)
    raise UnsupportedError(f"not a format that can be written (known: {known})")


def _format_of_content(path: Path_) -> str | None:
    with open(path, "rb") as stream:
        head = stream.read(16)
        if head.startswith(b"PK\3\4"):
            return _format_of_zip(stream)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES:
        return "safetensors"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(MAGIC):
        return "dcz"
    # A pickle of protocol 2 or later, as which PyTorch's older format starts.
    return "torch" if head[:2] in (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5") else None


def _format_of_zip(stream: BinaryIO) -> str | None:
    try:
        names = [member.filename for member in zip_members(stream)]
    except InputError:
        return None
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    return "npz" if all(name.endswith(".npy") for name in names) else None
