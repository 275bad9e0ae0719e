"""Reads and writes PyTorch's files, never running what is pickled in them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from ....codec.errors import located
from ...container.tensor_info import TensorInfo
from ..base import LeftOut, Read, read_as
from ..pickles.contents import Contents, all_tensors, find_contents
from ..pickles.reading import Saved, read_saved
from .state_dict import EntriesCheckpoint, StateDictCheckpoint
from .tensors import array_from_tensor, require_torch, tensor_from_array

__all__ = [
    "StateDictCheckpoint",
    "TorchCheckpoint",
    "array_from_tensor",
    "tensor_from_array",
    "write_torch",
]


class TorchCheckpoint(EntriesCheckpoint):
    """A file of torch.save, of TorchScript, or another pickle; mapped into memory.

    PyTorch is not needed, and nothing of the pickle is run, whatever it holds.

    Parameters
    ----------
    path : path
    key : str, optional
        Where in the file the tensors are that are meant, joined by dots.

    Raises
    ------
    InputError
        The file is damaged, or holds no tensors.
    UnsupportedError
        An element type or a kind of compression that is not known.
    RecipeError
        There are no tensors under the key.
    """

    def __init__(self, path: str | os.PathLike[str], key: str | None = None) -> None:
        name = os.fspath(path)
        with located(file=name):
            contents = _contents(read_saved(name), key)
        super().__init__(contents.entries, name)
        self.state_dict_key = contents.key
        self.left_out = contents.left_out


def _contents(saved: Saved, key: str | None) -> Contents:
    if saved.constants is None or key is not None:
        return find_contents(saved.value, key)
    contents, constants = all_tensors(saved.value), all_tensors(saved.constants)
    contents.entries |= {f"CONSTANTS.{name}": entry for name, entry in constants.entries.items()}
    contents.left_out += [*constants.left_out, LeftOut("code", "a program of TorchScript", 0, 0)]
    return contents


def write_torch(
    stream: BinaryIO,
    infos: Sequence[TensorInfo],
    read: Read,
    metadata: Mapping[str, str],
    ties: Mapping[str, str],
) -> None:
    """Write a state dict with torch.save; tied tensors share their memory in it.

    torch.save needs all tensors in memory, and the format has no place for metadata.

    Raises
    ------
    UnsupportedError
        PyTorch is not installed or has no such element type.
    """
    require_torch()
    import torch

    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for info in infos:
        earlier = state.get(ties.get(info.name, ""))
        if earlier is not None:
            state[info.name] = earlier.detach()
            continue
        with located(tensor=info.name):
            state[info.name] = tensor_from_array(read_as(read, info))
    torch.save(state, stream)
