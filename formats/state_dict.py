"""Finds the state dict in what a training script saved, and presents it as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dcz.codec.errors import InputError, located
from dcz.formats.tensors import (
    CORNER,
    Array,
    Checkpoint,
    TensorInfo,
    canonical_array,
    checked_info,
    corner_of,
)
from dcz.formats.torch_tensors import array_from_tensor, require_torch, tensor_dtype

if TYPE_CHECKING:
    import torch

# The names that training scripts use, the first that fits wins: weights as trained before
# their moving average.
STATE_DICT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "params_ema",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema",
)
MAX_NESTING = 2
ORIGINAL, MASK = "_orig", "_mask"


class StateDictCheckpoint(Checkpoint):
    """A PyTorch state dict in memory, which is neither copied nor changed.

    A pair `NAME_orig`, `NAME_mask` of torch.nn.utils.prune becomes the pruned `NAME`, in the
    place of the first of the two. An entry that is None holds nothing and is left out; any
    other that is no tensor (extra state, a counter) is refused, since leaving it out would
    make another model.

    Raises
    ------
    InputError
        A name is not a string, or an entry not a tensor whose elements can be read.
    UnsupportedError
        An element type this release does not know.
    """

    format = "torch"

    def __init__(self, state_dict: Mapping[str, torch.Tensor], path: str = "<state_dict>") -> None:
        super().__init__(path)
        self._views: dict[str, Array] = {}
        with located(file=path):
            self._sources = _fold_pairs(_tensors_only(state_dict))
        first: dict[object, str] = {}
        for name, (tensor, mask) in self._sources.items():
            with located(file=path, tensor=name):
                self.tensors[name] = info = _described(name, tensor)
            identity = _identity(tensor), None if mask is None else _identity(mask)
            if info.numel and first.setdefault(identity, name) != name:
                self.ties[name] = first[identity]

    def read(self, name: str) -> Array:
        """Return a read-only view of the tensor, or a copy if it is pruned or not in C order."""
        if name in self._views:
            return self._views[name]
        tensor, mask = self._sources[name]
        with located(file=self.path, tensor=name):
            values = array_from_tensor(tensor)
            if mask is None:
                if _is_view(values, tensor):
                    self._views[name] = values
                return values
            kept = array_from_tensor(mask) != 0
        return canonical_array(np.where(kept, values, np.zeros((), values.dtype)))

    def corner(self, name: str) -> Array:
        """Return the first elements along each axis."""
        tensor, mask = self._sources[name]
        if mask is not None or tensor.is_contiguous():
            return corner_of(self.read(name))
        with located(file=self.path, tensor=name):
            return array_from_tensor(tensor[(slice(CORNER),) * tensor.dim()])

    def close(self) -> None:
        """Let go of the tensors; arrays that were read stay valid."""
        self._sources = {}
        self._views = {}
        self.tensors = {}


def find_state_dict(saved: object) -> tuple[Mapping[str, torch.Tensor], str | None]:
    """Return the state dict in a saved object, and the key it was under (nested: joined by a dot).

    It is looked for under the usual names first, then the object itself may be it, and at
    last a single entry that is one under any name. What else a training checkpoint holds
    (optimizer, epoch) is passed over.

    Raises
    ------
    InputError
        There is none, or there are several and none has a usual name.
    """
    found = _search(saved, MAX_NESTING)
    if found is not None:
        return found
    candidates = _candidates(saved)
    if len(candidates) == 1:
        return candidates.popitem()[::-1]
    if candidates:
        names = ", ".join(repr(name) for name in candidates)
        raise InputError(f"holds several state dicts ({names}): save the one you mean by itself")
    raise InputError(f"holds no state dict but a {type(saved).__name__}")


def _search(saved: object, depth: int) -> tuple[Mapping[str, torch.Tensor], str | None] | None:
    if not isinstance(saved, Mapping):
        return None
    for key in STATE_DICT_KEYS if depth else ():
        inner = _search(saved.get(key), depth - 1)
        if inner is not None:
            state_dict, nested = inner
            return state_dict, key if nested is None else f"{key}.{nested}"
    return (saved, None) if _is_state_dict(saved) else None


def _candidates(saved: object) -> dict[str, Mapping[str, torch.Tensor]]:
    entries = saved.items() if isinstance(saved, Mapping) else ()
    return {str(key): value for key, value in entries if value and _is_state_dict(value)}


def _is_state_dict(value: object) -> bool:
    """Tell whether it maps names to anything with a tensor in it, or is empty."""
    require_torch()
    import torch

    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return False
    return not value or any(isinstance(entry, torch.Tensor) for entry in value.values())


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
    tensors: dict[str, torch.Tensor],
) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
    """Return what each name is read from: a tensor, and the mask if it is a pruned one."""
    bases = [name.removesuffix(ORIGINAL) for name in tensors if name.endswith(ORIGINAL)]
    pruned = {base for base in bases if _is_pruned(base, tensors)}
    sources: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = {}
    for name, tensor in tensors.items():
        base = name.removesuffix(ORIGINAL if name.endswith(ORIGINAL) else MASK)
        if base in pruned:
            sources[base] = tensors[base + ORIGINAL], tensors[base + MASK]
        else:
            sources[name] = tensor, None
    return sources


def _is_pruned(base: str, tensors: dict[str, torch.Tensor]) -> bool:
    """Tell whether two tensors are a pruned weight and its mask, and don't just sound like it."""
    original, mask = tensors.get(base + ORIGINAL), tensors.get(base + MASK)
    if original is None or mask is None or base in tensors or original.shape != mask.shape:
        return False
    with located(tensor=base + MASK):
        kept = array_from_tensor(mask)
    return bool(np.all((kept == 0) | (kept == 1)))


def _described(name: str, tensor: torch.Tensor) -> TensorInfo:
    return checked_info(name, tensor_dtype(tensor).numpy, tuple(tensor.shape))


def _is_view(array: Array, tensor: torch.Tensor) -> bool:
    return bool(array.ctypes.data == tensor.data_ptr())


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
