"""Gives a training checkpoint back out of a packed file that has everything of it."""

from __future__ import annotations

import argparse
import base64
import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ....codec.errors import CorruptError
from ...container.dtypes import DTYPES
from ..base import Array
from .structure import FACTORIES, NAMED, Json
from .tensors import require_torch, tensor_from_array

if TYPE_CHECKING:
    import torch

_FAULTS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
_FACTORIES = dict(zip(FACTORIES, (list, dict, set, int, float, str, bool, tuple), strict=True))
_DTYPES = {row.name: row.numpy for row in DTYPES}


def write_everything(
    stream: BinaryIO, structure: str, read: Callable[[str], Array], ties: Mapping[str, str]
) -> None:
    """Write with torch.save what was kept, tensors that are tied on one memory.

    Only values of Python, NumPy and PyTorch are made, each by a function written here.

    Parameters
    ----------
    stream : binary stream
    structure : str
        As `EverythingCheckpoint` has it in its metadata.
    read : function
        Gives the array of a name.
    ties : mapping of str to str

    Raises
    ------
    CorruptError
        The structure is none.
    UnsupportedError
        PyTorch is not installed, or has no such element type.
    RuntimeError, OSError
        From PyTorch, if it can't be written.
    """
    require_torch()
    import torch

    try:
        value = _Maker(read, ties).make(json.loads(structure))
    except (*_FAULTS, RuntimeError, RecursionError) as error:
        raise CorruptError(f"the kept structure is damaged: {error}") from None
    torch.save(value, stream)


class _Maker:
    """Makes values of their JSON."""

    def __init__(self, read: Callable[[str], Array], ties: Mapping[str, str]) -> None:
        self._read = read
        self._ties = ties
        self._tensors: dict[str, torch.Tensor] = {}

    def make(self, kept: Json) -> Any:
        if isinstance(kept, list):
            return [self.make(item) for item in kept]
        if not isinstance(kept, dict):
            return kept
        ((kind, content),) = kept.items()
        return _MAKERS[kind](self, content)

    def pairs(self, kept: Json) -> list[tuple[Any, Any]]:
        return [(self.make(key), self.make(value)) for key, value in kept]

    def ordered(self, kept: Json) -> Any:
        made = OrderedDict(self.pairs(kept[0]))
        if len(kept) > 1:
            made._metadata = self.make(kept[1])  # type: ignore[attr-defined]
        return made

    def defaulted(self, kept: Json) -> Any:
        factory = None if kept[0] is None else _FACTORIES[kept[0]]
        return defaultdict(factory, self.pairs(kept[1]))

    def tensor(self, kept: Json) -> Any:
        import torch

        options = kept if isinstance(kept, dict) else {"name": kept}
        tensor = self._shared(options["name"], options.get("strides"))
        needs = options.get("requires_grad") is True
        if options.get("parameter") is True:
            return torch.nn.Parameter(tensor, needs)
        return tensor.requires_grad_() if needs else tensor

    def _shared(self, name: str, strides: Json) -> torch.Tensor:
        """Return a tensor, on the memory of the one that it is tied to."""
        import torch

        first = self._ties.get(name, name)
        if first not in self._tensors:
            tensor = tensor_from_array(self._read(first))
            if strides is not None:
                _check_strides(tuple(tensor.shape), strides)
                permuted = torch.empty_strided(tuple(tensor.shape), strides, dtype=tensor.dtype)
                tensor = permuted.copy_(tensor)
            self._tensors[first] = tensor
        return self._tensors[first].detach()

    def scalar(self, kept: Json) -> Any:
        name, content = kept
        return np.frombuffer(base64.b64decode(content), _DTYPES[name])[0]

    def long_bytes(self, name: Json) -> bytes:
        return self._read(name).tobytes()

    def array(self, name: Json) -> Array:
        return np.array(self._read(name))


def _check_strides(shape: tuple[int, ...], strides: Json) -> None:
    """Raise ValueError unless the strides are those of memory without holes."""
    due = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1 and stride != due:
            raise ValueError(f"strides {strides} do not fit the shape {shape}")
        due *= size


def _torch_name(name: str) -> Any:
    import torch

    if name not in NAMED:
        raise ValueError(f"torch.{name} is not known")
    return getattr(torch, name)


def _size(kept: Json) -> Any:
    import torch

    return torch.Size(kept)


def _device(kept: Json) -> Any:
    import torch

    return torch.device(*kept)


_MAKERS: dict[str, Callable[[_Maker, Json], Any]] = {
    "tensor": _Maker.tensor,
    "array": _Maker.array,
    "scalar": _Maker.scalar,
    "long bytes": _Maker.long_bytes,
    "bytes": lambda maker, kept: base64.b64decode(kept),
    "tuple": lambda maker, kept: tuple(maker.make(item) for item in kept),
    "set": lambda maker, kept: {maker.make(item) for item in kept},
    "frozenset": lambda maker, kept: frozenset(maker.make(item) for item in kept),
    "dict": lambda maker, kept: dict(maker.pairs(kept)),
    "OrderedDict": _Maker.ordered,
    "defaultdict": _Maker.defaulted,
    "Namespace": lambda maker, kept: argparse.Namespace(**dict(maker.pairs(kept))),
    "int": lambda maker, kept: int(kept, 16),
    "float": lambda maker, kept: float(kept),
    "complex": lambda maker, kept: complex(*map(maker.make, kept)),
    "torch": lambda maker, kept: _torch_name(kept),
    "Size": lambda maker, kept: _size(kept),
    "device": lambda maker, kept: _device(kept),
}
