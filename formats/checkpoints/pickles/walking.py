"""Ways through what a pickle holds, by names, and not for ever: values may hold each other."""

from __future__ import annotations

from collections.abc import Iterator

from ....codec.errors import InputError
from .entries import Entry
from .machine.numpy_values import NumpyArray
from .machine.records import Global, Record
from .modules import is_module, module_entries
from .tensors import as_entry

MAX_NODES = 1 << 18
MAX_DEPTH = 64
MAX_NAME = 1 << 12
# What may hold a tensor; anything else is not worth a step.
_HOLDERS = (dict, list, tuple, Record, Entry, NumpyArray)


def key_text(key: object) -> str:
    """Return the name that a key of a dictionary gives its value."""
    if isinstance(key, tuple):
        return ",".join(map(key_text, key))
    if isinstance(key, Record):
        return key.name
    return str(key) if isinstance(key, (str, Global)) else repr(key)


def members(value: object) -> dict[object, object]:
    """Return what a dictionary maps, or what an object holds by attribute or by key."""
    if isinstance(value, Record):
        return value.attributes | value.entries
    return value if isinstance(value, dict) else {}


def children(value: object) -> Iterator[tuple[str, object]]:
    """Give what a value holds, each with its name or number."""
    if isinstance(value, Record) and is_module(value):
        value = module_entries(value)
    for key, inner in members(value).items():
        yield key_text(key), inner
    for number, inner in enumerate(_sequence(value)):
        yield str(number), inner


def _sequence(value: object) -> list[object]:
    if isinstance(value, Record):
        state = list(value.state) if isinstance(value.state, (list, tuple)) else []
        arguments = list(value.arguments) if isinstance(value.arguments, tuple) else []
        return [*arguments, *([] if value.attributes else state), *value.items]
    return list(value) if isinstance(value, (list, tuple)) else []


def tensors_below(value: object) -> dict[str, Entry]:
    """Return all tensors in a value, each named by the way to it.

    Raises
    ------
    InputError
        Two have one name, or values hold each other without an end.
    """
    found: dict[str, Entry] = {}
    for name, entry in _Walk().below(value, "", ()):
        if name in found:
            raise InputError("two tensors have this name", tensor=name)
        found[name] = entry
    return found


class Meter:
    """Counts tensors and bytes of several values, in a bounded number of steps for all of them."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def measure(self, value: object) -> tuple[int, int]:
        """Return how many tensors a value holds and how many bytes they take, shared ones once."""
        sizes: dict[object, int] = {}
        waiting, seen = [value], {id(value)}
        for item in waiting:
            entry = as_entry(item)
            if entry is not None:
                sizes[entry.identity()] = entry.nbytes
                continue
            for _, inner in children(item) if self._left > 0 else ():
                self._left -= 1
                if id(inner) not in seen and isinstance(inner, _HOLDERS):
                    seen.add(id(inner))
                    waiting.append(inner)
        return len(sizes), sum(sizes.values())


class _Walk:
    """Goes down into values, and into none that it is in."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def below(
        self, value: object, name: str, above: tuple[int, ...]
    ) -> Iterator[tuple[str, Entry]]:
        self._left -= 1
        if self._left < 0 or len(above) > MAX_DEPTH or len(name) > MAX_NAME:
            raise InputError("holds values in values without an end")
        entry = as_entry(value)
        if entry is not None:
            yield name or "tensor", entry
        elif id(value) not in above:
            prefix = f"{name}." if name else ""
            for inner_name, inner in children(value):
                if isinstance(inner, _HOLDERS):
                    yield from self.below(inner, prefix + inner_name, (*above, id(value)))
