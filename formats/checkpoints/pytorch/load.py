"""PyTorch tensors out of a `.dcz` file, and into a model."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from ....codec.errors import located
from ...container.limits import DEFAULT_LIMITS, DecodeLimits
from ...container.load import load_file
from ...container.reader import Path
from ..prefixes import plain_names
from .tensors import require_torch, tensor_from_array

if TYPE_CHECKING:
    import torch


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
