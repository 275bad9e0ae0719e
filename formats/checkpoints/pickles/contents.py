"""Finds the state dict in what a training script saved, and says what else there is."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ....codec.errors import InputError, RecipeError
from ..base import LeftOut
from .entries import Entry, UnreadableTensor
from .machine.records import Record
from .modules import is_module, module_entries
from .tensors import as_entry
from .walking import MAX_NAME, MAX_NODES, Meter, children, key_text, members, tensors_below
from .words import in_words

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
MAX_DESCRIBED = 1_000
_MAX_SHOWN = 20


@dataclass(slots=True)
class Contents:
    """The tensors that were chosen of a file, and what else is in it.

    Attributes
    ----------
    entries : dict of str to Entry
    key : str or None
        The way to them, joined by dots; None if they are the file's own, or of several keys.
    left_out : list of LeftOut
    """

    entries: dict[str, Entry]
    key: str | None = None
    left_out: list[LeftOut] = field(default_factory=list)


def find_contents(saved: object, key: str | None = None) -> Contents:
    """Find the tensors that are meant.

    With a key they are all that is under it. Otherwise a state dict is looked for under the
    usual names, then the object itself may be one, then all state dicts under any names are
    taken; and where there is none, every tensor that there is. A whole module counts as its
    state dict.

    Raises
    ------
    InputError
        There is no tensor.
    RecipeError
        There is nothing under the key.
    """
    if key is not None:
        return _below_key(saved, key)
    found = _search(saved, MAX_NESTING, "")
    if found is None:
        found = _candidates(saved)
    if found is None:
        found = all_tensors(saved)
        if not found.entries:
            raise InputError(f"holds no tensors but {in_words(saved)}")
    return found


def all_tensors(saved: object) -> Contents:
    """Return every tensor that a value holds; those that can't be read are left out."""
    found = Contents({})
    for name, entry in tensors_below(saved).items():
        if isinstance(entry, UnreadableTensor):
            found.left_out.append(LeftOut(name, f"a tensor that {entry.cause}", 0, 0))
        else:
            found.entries[name] = entry
    return found


def _search(saved: object, depth: int, path: str) -> Contents | None:
    if isinstance(saved, dict) and not saved:
        return Contents({}) if not path else None
    own = {} if is_module(saved) else members(saved)
    for key in STATE_DICT_KEYS if depth else ():
        if key in own:
            found = _search(own[key], depth - 1, f"{path}{key}.")
            if found is not None:
                found.left_out += _described(own, path, {key})
                return found
    return _as_tree(saved, path) if path else _as_state_dict(saved, path)


def _as_state_dict(value: object, path: str) -> Contents | None:
    """Return what a module or a mapping with a tensor in it holds; None if it is neither."""
    if is_module(value) or any(as_entry(inner) is not None for inner in members(value).values()):
        return _as_tree(value, path)
    return None


def _as_tree(value: object, path: str) -> Contents | None:
    """Return what a module or a mapping holds, also in mappings of nothing but tensors."""
    found, kind = Contents({}, path.removesuffix(".") or None), None
    if isinstance(value, Record) and is_module(value):
        kind, value = value.name, module_entries(value)
    own = members(value)
    taken, pure = set(), _Pure()
    for key, inner in own.items():
        entry, name = as_entry(inner), key_text(key)
        inside = {name: entry} if entry is not None else pure.below(inner, f"{name}.")
        for inner_name, inner_entry in inside.items():
            if inner_name in found.entries:
                raise InputError("two tensors have this name", tensor=inner_name)
            found.entries[inner_name] = inner_entry
        if inside:
            taken.add(key)
    found.left_out = _described(own, path, taken)
    if kind is not None:
        found.left_out.append(
            LeftOut(f"{path}code", f"the class {kind}, with what else is in it", 0, 0)
        )
    return found if found.entries else None


class _Pure:
    """Finds the tensors of dictionaries in dictionaries, where they hold nothing else."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def below(self, value: object, prefix: str, depth: int = 8) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for key, inner in value.items() if isinstance(value, dict) and depth else ():
            self._left -= 1
            if self._left < 0 or len(prefix) > MAX_NAME:
                raise InputError("holds values in values without an end")
            entry, name = as_entry(inner), prefix + key_text(key)
            inside = self.below(inner, f"{name}.", depth - 1) if entry is None else {name: entry}
            if not inside:
                return {}
            found |= inside
        return found


def _candidates(saved: object) -> Contents | None:
    """Return what lies under the only key with a state dict, or under all such keys."""
    own = members(saved)
    found = {}
    for key, value in own.items():
        inside = _as_state_dict(value, f"{key_text(key)}.")
        if inside is not None:
            found[key] = inside
    if not found:
        return None
    left_out = _described(own, "", set(found))
    if len(found) == 1:
        (only,) = found.values()
        only.left_out += left_out
        return only
    together = Contents({}, None, left_out)
    for key, inside in found.items():
        together.entries |= {f"{key_text(key)}.{n}": e for n, e in inside.entries.items()}
        together.left_out += inside.left_out
    return together


def _below_key(saved: object, key: str) -> Contents:
    steps = _way(saved, key)
    if steps is None:
        names = [name for (name, _), _ in zip(children(saved), range(_MAX_SHOWN), strict=False)]
        raise RecipeError(f"has no key {key!r}; it has {', '.join(names) or 'none'}")
    value, left_out, path = saved, [], ""
    for name in steps:
        inside = dict(children(value))
        left_out += _described(inside, path, {name})
        value, path = inside[name], f"{path}{name}."
    found = _as_state_dict(value, path) or replace(all_tensors(value), key=key)
    if not found.entries:
        raise RecipeError(f"holds no tensors under the key {key!r} but {in_words(value)}")
    found.left_out += left_out
    return found


def _way(value: object, key: str) -> list[str] | None:
    """Return the names on the way that a key means, which may have dots of their own."""
    inside = dict(children(value))
    if key in inside:
        return [key]
    for place, letter in enumerate(key):
        if letter == "." and key[:place] in inside:
            rest = _way(inside[key[:place]], key[place + 1 :])
            if rest is not None:
                return [key[:place], *rest]
    return None


def _described(own: Mapping[Any, object], path: str, taken: Container[object]) -> list[LeftOut]:
    """Say what a level holds beside what was taken; None holds nothing."""
    meter = Meter()
    found: list[LeftOut] = []
    for key, value in own.items():
        if key in taken or value is None:
            continue
        if len(found) == MAX_DESCRIBED:
            found.append(LeftOut(f"{path}...", "more", 0, 0))
            break
        tensors, size = meter.measure(value)
        found.append(LeftOut(path + key_text(key), in_words(value), tensors, size))
    return found
