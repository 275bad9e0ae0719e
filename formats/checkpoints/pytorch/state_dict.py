"""Presents named tensors as a checkpoint: those of a file, or a PyTorch state dict in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ....codec.errors import InputError, located
from ...container.tensor_info import TensorInfo
from ..base import CORNER, Array, Checkpoint, canonical_array, checked_info, corner_of
from ..pickles.entries import Entry
from .tensors import array_from_tensor, require_torch, tensor_dtype

if TYPE_CHECKING:
    import torch

# What each name is read from: a tensor, and the mask if it is a pruned one.
Sources: TypeAlias = dict[str, tuple[Entry, Entry | None]]

ORIGINAL, MASK = "_orig", "_mask"


class EntriesCheckpoint(Checkpoint):
    """Named tensors, which are neither copied nor changed.

    A pair `NAME_orig`, `NAME_mask` of torch.nn.utils.prune becomes the pruned `NAME`, in the
    place of the first of the two.

    Raises
    ------
    InputError
        A tensor's elements can't be read.
    UnsupportedError
        An element type this release does not know.
    """

    format = "torch"

    def __init__(self, entries: Mapping[str, Entry], path: str) -> None:
        super().__init__(path)
        with located(file=path):
            self._sources = self._paired(entries)
        first: dict[object, str] = {}
        for name, (entry, mask) in self._sources.items():
            with located(file=path, tensor=name):
                self.tensors[name] = info = entry.info(name)
            identity = entry.identity(), None if mask is None else mask.identity()
            if info.numel and first.setdefault(identity, name) != name:
                self.ties[name] = first[identity]

    def _paired(self, entries: Mapping[str, Entry]) -> Sources:
        """Return what each name is read from."""
        return _fold_pairs(entries)

    def read(self, name: str) -> Array:
        """Return a read-only view of the tensor, or a copy if it is pruned or not in C order."""
        entry, mask = self._sources[name]
        with located(file=self.path, tensor=name):
            values = entry.array()
            if mask is None:
                return values
            kept = mask.array() != 0
        return canonical_array(np.where(kept, values, np.zeros((), values.dtype)))

    def corner(self, name: str) -> Array:
        """Return the first elements along each axis."""
        entry, mask = self._sources[name]
        if mask is not None:
            return corner_of(self.read(name))
        with located(file=self.path, tensor=name):
            return entry.corner()

    def close(self) -> None:
        """Let go of the tensors; arrays that were read stay valid."""
        self._sources = {}
        self.tensors = {}


class StateDictCheckpoint(EntriesCheckpoint):
    """A PyTorch state dict in memory.

    An entry that is None holds nothing and is left out; any other that is no tensor (extra state,
    a counter) is refused, since leaving it out would make another model.

    Raises
    ------
    InputError
        A name is not a string, or an entry not a tensor whose elements can be read.
    UnsupportedError
        An element type this release does not know.
    """

    def __init__(self, state_dict: Mapping[str, torch.Tensor], path: str = "<state_dict>") -> None:
        with located(file=path):
            tensors = _tensors_only(state_dict)
        super().__init__({name: LiveTensor(tensor) for name, tensor in tensors.items()}, path)


class LiveTensor(Entry):
    """A tensor of PyTorch in memory."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._kept: Array | None = None

    def info(self, name: str) -> TensorInfo:
        """Describe it; refuse what has no plain elements."""
        return checked_info(name, tensor_dtype(self._tensor).numpy, tuple(self._tensor.shape))

    def array(self) -> Array:
        """Return a view of it, or a copy if it is not in C order."""
        if self._kept is not None:
            return self._kept
        values = array_from_tensor(self._tensor)
        if values.ctypes.data == self._tensor.data_ptr():
            self._kept = values
        return values

    def corner(self) -> Array:
        """Return the first elements along each axis."""
        if self._tensor.is_contiguous():
            return corner_of(self.array())
        return array_from_tensor(self._tensor[(slice(CORNER),) * self._tensor.dim()])

    def identity(self) -> object:
        """Return place and layout."""
        return _identity(self._tensor)


def _tensors_only(state_dict: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    require_torch()
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for name, entry in state_dict.items():
        if not isinstance(name, str):
            raise InputError(f"the name {name!r} is not a string")
        if entry is None:
            continue
        if not isinstance(entry, torch.Tensor):
            cause = f"is a {type(entry).__name__} and not a tensor: remove it from the state dict"
            raise InputError(cause, tensor=name)
        tensors[name] = entry
    return tensors


def _fold_pairs(
    entries: Mapping[str, Entry],
) -> Sources:
    """Return what each name is read from: a tensor, and the mask if it is a pruned one."""
    bases = [name.removesuffix(ORIGINAL) for name in entries if name.endswith(ORIGINAL)]
    pruned = {base for base in bases if _is_pruned(base, entries)}
    sources: Sources = {}
    for name, entry in entries.items():
        base = name.removesuffix(ORIGINAL if name.endswith(ORIGINAL) else MASK)
        if base in pruned:
            sources[base] = entries[base + ORIGINAL], entries[base + MASK]
        else:
            sources[name] = entry, None
    return sources


def _is_pruned(base: str, entries: Mapping[str, Entry]) -> bool:
    """Tell whether two tensors are a pruned weight and its mask, and don't just sound like it."""
    original, mask = entries.get(base + ORIGINAL), entries.get(base + MASK)
    if original is None or mask is None or base in entries:
        return False
    with located(tensor=base + MASK):
        if mask.info(base + MASK).shape != original.info(base + ORIGINAL).shape:
            return False
        kept = mask.array()
    return bool(np.all((kept == 0) | (kept == 1)))


def _identity(tensor: torch.Tensor) -> object:
    return (
        tensor.untyped_storage().data_ptr(),
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.dtype,
        tensor.device,
        tensor.is_conj(),
        tensor.is_neg(),
    )
