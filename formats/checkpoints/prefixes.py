"""Prefixes that wrappers put before a model's names: of parallel training and of compiling."""

from __future__ import annotations

from collections.abc import Iterable

from ...codec.errors import InputError
from .base import Array, Checkpoint

# DataParallel and DistributedDataParallel; torch.compile, also of a part of a model.
PARALLEL, COMPILED = "module.", "_orig_mod."


def wrapper_prefix(names: Iterable[str]) -> str:
    """Return what wrappers put before all names; an empty string if they did not."""
    listed, prefix = list(names), ""
    while listed:
        known = (PARALLEL, COMPILED)
        added = next((w for w in known if all(n.startswith(prefix + w) for n in listed)), "")
        if not added:
            break
        prefix += added
    return prefix


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Map names to what they are without wrappers around the model or compiled parts of it.

    Raises
    ------
    InputError
        Two would be the same.
    """
    listed = list(names)
    size = len(wrapper_prefix(listed))
    found = {name: _without_compiled(name[size:]) for name in listed}
    taken: set[str] = set()
    for name, plain in found.items():
        if plain in taken:
            raise InputError(f"is {plain!r} without its prefix, as another one is", tensor=name)
        taken.add(plain)
    return found


def _without_compiled(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != COMPILED.removesuffix("."))


class PlainNames(Checkpoint):
    """A checkpoint whose tensors are without their wrappers' prefixes.

    Parameters
    ----------
    checkpoint : Checkpoint
        Closed with this one.

    Raises
    ------
    InputError
        Two tensors would have one name.
    """

    format = "renamed"

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint.path)
        plain = plain_names(checkpoint.tensors)
        self._checkpoint = checkpoint
        self._original = {new: old for old, new in plain.items()}
        self.tensors = {
            plain[name]: info._replace(name=plain[name])
            for name, info in checkpoint.tensors.items()
        }
        self.ties = {plain[name]: plain[first] for name, first in checkpoint.ties.items()}
        self.metadata = checkpoint.metadata
        self.state_dict_key = checkpoint.state_dict_key
        self.left_out = checkpoint.left_out

    def read(self, name: str) -> Array:
        """Return one tensor, as the checkpoint gives it."""
        return self._checkpoint.read(self._original[name])

    def corner(self, name: str) -> Array:
        """Return the elements that the checkpoint gives."""
        return self._checkpoint.corner(self._original[name])

    def close(self) -> None:
        """Close the checkpoint."""
        self._checkpoint.close()
