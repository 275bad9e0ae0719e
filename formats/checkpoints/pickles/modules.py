"""Whole modules that were pickled: their tensors under the names of their state dict."""

from __future__ import annotations

from collections.abc import Iterator

from ....codec.errors import InputError
from .machine.records import Record
from .tensors import as_entry

MAX_VISITS = 1 << 20
MAX_DEPTH = 100
MAX_PREFIX = 1 << 12


def is_module(value: object) -> bool:
    """Tell whether a record is of a subclass of torch.nn.Module, whatever it is called."""
    if not isinstance(value, Record):
        return False
    own = value.attributes
    return isinstance(own.get("_parameters"), dict) and isinstance(own.get("_modules"), dict)


def module_entries(module: Record) -> dict[object, object]:
    """Return parameters and persistent buffers, as `state_dict()` names and orders them.

    Nothing of a module is run: state that its own methods would have added, or renamed, is as it
    is stored.

    Raises
    ------
    InputError
        Modules lie in each other without an end.
    """
    return dict(_Walk().entries(module, "", 0))


class _Walk:
    """Goes through modules in modules, and not for ever."""

    def __init__(self) -> None:
        self._left = MAX_VISITS

    def entries(self, module: Record, prefix: str, depth: int) -> Iterator[tuple[object, object]]:
        self._count(depth, prefix)
        own = module.attributes
        left_out = own.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            members = own.get(kind)
            for name, value in members.items() if isinstance(members, dict) else ():
                self._count(depth, prefix)
                skipped = kind == "_buffers" and isinstance(left_out, set) and name in left_out
                if as_entry(value) is not None and not skipped:
                    yield f"{prefix}{name}", value
        inner = own.get("_modules")
        for name, value in inner.items() if isinstance(inner, dict) else ():
            self._count(depth, prefix)
            if isinstance(value, Record) and is_module(value):
                yield from self.entries(value, f"{prefix}{name}.", depth + 1)

    def _count(self, depth: int, prefix: str) -> None:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH or len(prefix) > MAX_PREFIX:
            raise InputError("has modules in modules without an end")
