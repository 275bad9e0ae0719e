"""Tensors in memory, packed and unpacked without a foreign file in between."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dcz.codec.errors import located
from dcz.codec.frame import AnyArray
from dcz.codec.recipe import Recipe
from dcz.codec.report import Report
from dcz.formats.archive import Archive
from dcz.formats.arena import Arena
from dcz.formats.limits import DEFAULT_LIMITS, DecodeLimits
from dcz.formats.numpy_io import MappingCheckpoint
from dcz.formats.packing import Path, pack
from dcz.formats.prefixes import plain_names
from dcz.formats.state_dict import StateDictCheckpoint
from dcz.formats.torch_tensors import require_torch, tensor_from_array

if TYPE_CHECKING:
    import torch


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
    with Archive(path, jobs=jobs, limits=limits) as archive:
        ties = archive.ties
        arena = Arena()
        infos = {name: archive.info(name) for name in archive if name not in ties}
        with located(file=archive.path):
            arrays = {name: arena.empty(info.shape, info.dtype) for name, info in infos.items()}
        archive.read_all(arrays)
        return {name: arrays[ties.get(name, name)] for name in archive}


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


def load_state_dict(
    path: Path, *, jobs: int | None = None, limits: DecodeLimits = DEFAULT_LIMITS
) -> dict[str, torch.Tensor]:
    """Decode all tensors of a `.dcz` file as PyTorch tensors, which `load_state_dict` accepts.

    Raises
    ------
    CorruptError, UnsupportedError, LimitError
        If the file cannot be read, or PyTorch is not installed.
    OSError
        If it cannot be opened.
    """
    require_torch()
    arrays = load_file(path, jobs=jobs, limits=limits)
    tensors: dict[int, torch.Tensor] = {}
    for array in arrays.values():
        if id(array) not in tensors:
            tensors[id(array)] = tensor_from_array(array)
    return {name: tensors[id(array)] for name, array in arrays.items()}


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


def load_model(model: torch.nn.Module, path: Path, *, jobs: int | None = None) -> None:
    """Load a `.dcz` file into a model, every key accounted for.

    Prefixes of parallel training and of compiling are taken off where the model has none.

    Warns
    -----
    UserWarning
        If prefixes were taken off.

    Raises
    ------
    RuntimeError
        From PyTorch, if names or shapes are not the model's.
    CorruptError, UnsupportedError, LimitError
        If the file cannot be read.
    """
    state, wanted = load_state_dict(path, jobs=jobs), set(model.state_dict())
    with located(file=os.fspath(path)):
        plain = plain_names(state)
    if not wanted.issuperset(state) and wanted.issuperset(plain.values()):
        warnings.warn(f"{path}: the prefixes of its names were taken off", stacklevel=2)
        state = {plain[name]: tensor for name, tensor in state.items()}
    model.load_state_dict(state, strict=True)
