"""Says in a few words what a value of a pickle is."""

from __future__ import annotations

import numpy as np

from .entries import StoredTensor
from .machine.numpy_values import NumpyArray
from .machine.records import Global, Record
from .tensors import as_entry

_MAX_TEXT = 40


def in_words(value: object) -> str:
    """Return what a value is: itself if it is short, otherwise its class and size."""
    if isinstance(value, Record):
        return f"{value.name}, an object that was not made"
    if isinstance(value, Global):
        return f"the name {value}"
    if isinstance(value, NumpyArray) and value.tensor is None:
        return f"NumPy array of {value.name}"
    entry = as_entry(value)
    if entry is not None:
        return _tensor_in_words(entry)
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return f"{_KINDS.get(type(value), 'dict')} of {len(value)}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{len(value)} bytes"
    return _shortened(value)


_KINDS = {list: "list", tuple: "tuple", set: "set", frozenset: "set"}


def _tensor_in_words(entry: object) -> str:
    if not isinstance(entry, StoredTensor):
        return "tensor that can't be read"
    shape = "x".join(map(str, entry.shape)) or "scalar"
    return f"tensor {entry.dtype} {shape}"


def _shortened(value: object) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    text = repr(value[: _MAX_TEXT + 1] if isinstance(value, str) else value)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
