"""Reads and writes PyTorch's files, never running what is pickled in them."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import BinaryIO
from zipfile import ZIP_STORED

from dcz.codec.errors import InputError, located
from dcz.formats.state_dict import StateDictCheckpoint, find_state_dict
from dcz.formats.tensors import Read, TensorInfo, read_as
from dcz.formats.torch_tensors import array_from_tensor, require_torch, tensor_from_array
from dcz.formats.zip_damage import zip_members

__all__ = [
    "StateDictCheckpoint",
    "TorchCheckpoint",
    "array_from_tensor",
    "find_state_dict",
    "tensor_from_array",
    "write_torch",
]

_FORBIDDEN_GLOBAL = re.compile(r"GLOBAL (\S+)")
_UNPICKLER_CAUSE = re.compile(r"WeightsUnpickler error: (.*)")


class TorchCheckpoint(StateDictCheckpoint):
    """A file of torch.save, in the zip format (memory-mapped) or in the one before.

    Only `torch.load(weights_only=True)` is used: a file that needs more is refused.

    Raises
    ------
    InputError
        The file is damaged, holds anything but tensors and plain values, or no state dict.
    UnsupportedError
        PyTorch is not installed, or an element type is not known.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        with located(file=name):
            state_dict, key = find_state_dict(_load(name))
        super().__init__(state_dict, name)
        self.state_dict_key = key


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


def _load(path: str) -> object:
    require_torch()
    import torch

    mapped = _is_mappable(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError:
        raise
    except Exception as error:
        # A damaged file ends in almost any exception there.
        raise InputError(_cause(error)) from None


def _is_mappable(path: str) -> bool:
    """Tell whether it is a zip with nothing compressed; PyTorch maps compressed bytes as they are.

    The older format is not a zip, and PyTorch can't map it.
    """
    with open(path, "rb") as stream:
        if stream.read(4) != b"PK\3\4":
            return False
        return all(member.compress_type == ZIP_STORED for member in zip_members(stream))


def _cause(error: Exception) -> str:
    text = str(error)
    if forbidden := _FORBIDDEN_GLOBAL.search(text):
        return (
            f"its pickle holds code ({forbidden[1].rstrip('.')}), which is never run: "
            "refused; save model.state_dict() alone"
        )
    if detail := _UNPICKLER_CAUSE.search(text):
        return f"PyTorch can't load it: {detail[1]}"
    first = text.strip().partition("\n")[0].partition(". ")[0]
    return f"PyTorch can't load it: {first or type(error).__name__}"
