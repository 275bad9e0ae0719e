"""Keeps what a training checkpoint holds beside its tensors, as JSON in a packed file's metadata.

Numbers, text and lists stand for themselves; anything else is an object with one member, whose name
says what it is: `{"tuple": [1, 2]}`. A tensor is named: `{"tensor": "optimizer.state.0.exp_avg"}`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ....codec.errors import InputError, located
from ...container.dtypes import DTYPES
from ..base import LeftOut
from ..pickles.contents import find_contents
from ..pickles.entries import Entry, Storage, StoredTensor, contiguous
from ..pickles.machine.numpy_values import NumpyArray
from ..pickles.machine.records import Defaulted, Global, Ordered, Record
from ..pickles.modules import is_module, module_entries
from ..pickles.reading import read_saved
from ..pickles.tensors import as_entry
from ..pickles.walking import MAX_DEPTH, MAX_NODES, Meter, key_text
from ..pickles.words import in_words
from .state_dict import EntriesCheckpoint, Sources

STRUCTURE_KEY = "dcz.structure"
FACTORIES = ("list", "dict", "set", "int", "float", "str", "bool", "tuple")
NAMED = frozenset(row.torch for row in DTYPES)
_SHORT = 1 << 10
_EXACT_INTEGERS = 1 << 53

Json: TypeAlias = Any


class EverythingCheckpoint(EntriesCheckpoint):
    """A file of torch.save with all that it holds: every tensor, and the values around them.

    Tensors are named by the way to them, and pairs of torch.nn.utils.prune stay pairs. Objects of
    other classes are left out and told; a whole module becomes its state dict.

    Raises
    ------
    InputError
        The file is damaged, or a program of TorchScript.
    UnsupportedError
        An element type or a kind of compression that is not known.

    Attributes
    ----------
    beside : list of str
        The ways to what holds tensors beside the model.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        with located(file=name):
            saved = read_saved(name)
            if saved.constants is not None:
                raise InputError("is a program of TorchScript, which can't be given back")
            kept = _Keeper()
            tree = kept.keep(saved.value, "")
        super().__init__(kept.entries, name)
        self.metadata[STRUCTURE_KEY] = json.dumps(tree, separators=(",", ":"))
        self.left_out = kept.left_out
        self.beside = [part.key for part in find_contents(saved.value).left_out if part.tensors]

    def _paired(self, entries: Mapping[str, Entry]) -> Sources:
        return {name: (entry, None) for name, entry in entries.items()}


class _Left:
    """Stands for what can't be kept."""


_LEFT = _Left()


@dataclass
class _Keeper:
    """Turns values into JSON, and collects tensors and what can't be kept."""

    entries: dict[str, Entry] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    _nodes: int = MAX_NODES
    _meter: Meter = field(default_factory=Meter)

    def keep(self, value: object, name: str, depth: int = 0) -> Json:
        """Return the JSON for a value, or `_LEFT`."""
        self._nodes -= 1
        if self._nodes < 0 or depth > MAX_DEPTH:
            raise InputError("holds values in values without an end")
        entry = as_entry(value)
        if entry is not None:
            return self._tensor(value, entry, name)
        if isinstance(value, (dict, Record)):
            return self._mapping(value, name, depth + 1)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._items(value, name, depth + 1)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._bytes(value, name)
        plain = _plain(value)
        return self._leave(value, name) if isinstance(plain, _Left) else plain

    def _leave(self, value: object, name: str) -> _Left:
        tensors, size = self._meter.measure(value)
        self.left_out.append(LeftOut(name or "all of it", in_words(value), tensors, size))
        return _LEFT

    def _name(self, name: str, entry: Entry) -> str:
        if name in self.entries:
            raise InputError("two tensors have this name", tensor=name)
        self.entries[name or "tensor"] = entry
        return name or "tensor"

    def _tensor(self, value: object, entry: Entry, name: str) -> Json:
        found: dict[str, Json] = {"name": self._name(name, entry)}
        if isinstance(value, NumpyArray):
            return {"array": found["name"]}
        if isinstance(entry, StoredTensor):
            if entry.is_parameter:
                found["parameter"] = True
            if entry.requires_grad:
                found["requires_grad"] = True
            if _is_permuted(entry):
                found["strides"] = list(entry.strides)
        return {"tensor": found if len(found) > 1 else found["name"]}

    def _bytes(self, value: bytes | bytearray | memoryview, name: str) -> Json:
        if len(value) <= _SHORT:
            return {"bytes": base64.b64encode(value).decode()}
        flat = np.frombuffer(value, np.uint8)
        entry = contiguous(Storage("uint8", flat.size, lambda: flat), "uint8", (flat.size,))
        return {"long bytes": self._name(name, entry)}

    def _items(self, value: Iterable[object], name: str, depth: int) -> Json:
        """Keep a sequence; None stands in the place of what can't be kept."""
        prefix = f"{name}." if name else ""
        kept = [self.keep(item, f"{prefix}{place}", depth) for place, item in enumerate(value)]
        items = [None if isinstance(item, _Left) else item for item in kept]
        return items if isinstance(value, list) else {type(value).__name__: items}

    def _mapping(self, value: dict[object, object] | Record, name: str, depth: int) -> Json:
        if isinstance(value, Record):
            return self._record(value, name, depth)
        pairs = self._pairs(value, name, depth)
        if isinstance(value, Defaulted):
            factory = value.factory
            known = isinstance(factory, Global) and factory.module in ("builtins", "__builtin__")
            if known and isinstance(factory, Global) and factory.name in FACTORIES:
                return {"defaultdict": [factory.name, pairs]}
            if factory is not None:
                self._leave(factory, f"{name}.default_factory")
            return {"defaultdict": [None, pairs]}
        if isinstance(value, Ordered):
            return {"OrderedDict": [pairs, *self._versions(value, depth)]}
        return {"dict": pairs}

    def _versions(self, value: Ordered, depth: int) -> list[Json]:
        """Keep the versions of modules, which a state dict of PyTorch carries."""
        state = value.state if isinstance(value.state, dict) else {}
        return [self.keep(state["_metadata"], "", depth)] if "_metadata" in state else []

    def _pairs(self, value: dict[object, object], name: str, depth: int) -> list[Json]:
        prefix, pairs = f"{name}." if name else "", []
        for key, inner in value.items():
            kept_key, path = self._key(key), prefix + key_text(key)
            kept = (
                self._leave(inner, path)
                if isinstance(kept_key, _Left)
                else self.keep(inner, path, depth)
            )
            if not isinstance(kept, _Left):
                pairs.append([kept_key, kept])
        return pairs

    def _key(self, key: object) -> Json:
        if isinstance(key, tuple):
            parts = [self._key(part) for part in key]
            return _LEFT if any(isinstance(part, _Left) for part in parts) else {"tuple": parts}
        if isinstance(key, bytes):
            return {"bytes": base64.b64encode(key).decode()}
        return _plain(key)

    def _record(self, value: Record, name: str, depth: int) -> Json:
        if is_module(value):
            self.left_out.append(LeftOut(f"{name}.code", f"the class {value.name}", 0, 0))
            return {"OrderedDict": [self._pairs(_detached(value), name, depth)]}
        if value.name == "argparse.Namespace" and not value.arguments and not value.keywords:
            return {"Namespace": self._pairs(value.attributes, name, depth)}
        arguments = value.arguments if isinstance(value.arguments, tuple) else ()
        if value.name == "torch.Size" and len(arguments) == 1 and isinstance(arguments[0], tuple):
            return {"Size": [int(size) for size in arguments[0] if isinstance(size, int)]}
        if value.name == "torch.device" and all(isinstance(a, (str, int)) for a in arguments):
            return {"device": list(arguments)}
        return self._leave(value, name)


def _detached(module: Record) -> dict[object, object]:
    """Return a module's tensors as its state dict has them: no parameters any more."""
    return {
        name: dataclasses.replace(entry, requires_grad=False, is_parameter=False)
        if isinstance(entry, StoredTensor)
        else entry
        for name, entry in module_entries(module).items()
    }


def _plain(value: object) -> Json:
    """Return the JSON for a value that holds no others; `_LEFT` for any that is not known."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.generic):
        return {"scalar": [value.dtype.name, base64.b64encode(value.tobytes()).decode()]}
    if isinstance(value, int):
        return value if abs(value) < _EXACT_INTEGERS else {"int": hex(value)}
    if isinstance(value, float):
        return value if np.isfinite(value) else {"float": repr(value)}
    if isinstance(value, complex):
        return {"complex": [_plain(value.real), _plain(value.imag)]}
    if isinstance(value, Global) and value.module == "torch" and value.name in NAMED:
        return {"torch": value.name}
    return _LEFT


def _is_permuted(entry: StoredTensor) -> bool:
    """Tell whether a tensor fills its memory in another order than C's, as channels-last ones."""
    sizes = sorted((stride, size) for stride, size in zip(entry.strides, entry.shape, strict=True))
    due = 1
    for stride, size in sizes:
        if size > 1 and stride != due:
            return False
        due *= size
    plain = contiguous(entry.storage, entry.dtype, entry.shape)
    return 0 not in entry.shape and entry.strides != plain.strides
