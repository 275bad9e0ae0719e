"""Reads a file of PyTorch, whatever format it is in, into plain values, tensors and records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ....codec.errors import InputError
from .entries import Storage
from .legacy import LegacyFile
from .machine.machine import Arguments, Builder, Machine
from .machine.numpy_values import NUMPY_BUILDERS
from .machine.plain_values import PLAIN_BUILDERS
from .machine.tape import Tape
from .tensors import TENSOR_BUILDERS
from .torch_zip import TorchZip, map_stream

_ZIP = b"PK\3\4"
_TAR = b"ustar"


_BUILDERS: Mapping[str, Builder] = {**PLAIN_BUILDERS, **NUMPY_BUILDERS, **TENSOR_BUILDERS}
_NESTED_MEMORY = 1 << 20


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file holds.

    Attributes
    ----------
    value : object
        Plain values as they are, tensors as entries, the rest as records.
    constants : dict of str to object, or None
        Of the code, if it is a program of TorchScript; `value` is its module then.
    """

    value: object
    constants: dict[str, object] | None = None


class _Nested:
    """Storages that were pickled without PyTorch's help: files in the older format, as bytes."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, Storage]] = {}

    def __call__(self, arguments: Arguments) -> object:
        content = arguments[0] if arguments else None
        if not isinstance(content, (bytes, bytearray, memoryview)):
            raise InputError("its pickle has a storage without bytes")
        # The same bytes may be given again and again.
        if id(content) not in self._known:
            storage = LegacyFile(memoryview(content), _BUILDERS, _NESTED_MEMORY).load()
            if not isinstance(storage, Storage):
                raise InputError("its pickle has a storage that is none")
            self._known[id(content)] = content, storage
        return self._known[id(content)][1]


def _builders() -> Mapping[str, Builder]:
    return {**_BUILDERS, "torch.storage._load_from_bytes": _Nested()}


def read_saved(path: str | os.PathLike[str]) -> Saved:
    """Read a file, of which nothing is imported or called.

    Raises
    ------
    InputError
        The file is damaged, or of a format that is not read.
    UnsupportedError
        A zip archive is compressed by an unknown method.
    OSError
        It can't be opened.
    """
    with open(path, "rb") as stream:
        head = stream.read(512)
        if head.startswith(_ZIP):
            return _read_zip(TorchZip(path))
        if head[257:262] == _TAR:
            raise InputError(
                "is in PyTorch's legacy .tar format (before 0.1.10), which is not read: "
                "load it there and save its state dict anew"
            )
        return Saved(LegacyFile(memoryview(map_stream(stream)), _builders()).load())


def _read_zip(archive: TorchZip) -> Saved:
    value = _run(archive, "data.pkl", "data")
    if not archive.is_torchscript:
        return Saved(value)
    constants = _run(archive, "constants.pkl", "constants")
    items = constants if isinstance(constants, (list, tuple)) else ()
    return Saved(value, {f"c{number}": item for number, item in enumerate(items)})


def _run(archive: TorchZip, name: str, folder: str) -> object:
    tape = Tape(archive.pickle(name))
    return Machine(tape, _builders(), archive.persistent(folder)).run()
