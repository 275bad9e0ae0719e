"""What a checkpoint holds once equal tensors are counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ...codec.rate.recipe import Recipe
from ...codec.wire.arrays import AnyArray
from ..checkpoints.base import Checkpoint
from ..container.digest import tensor_digest
from ..container.tensor_info import TensorInfo


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint's tensor as the codec sees it.

    Attributes
    ----------
    checkpoint : Checkpoint
    info : TensorInfo
    given : array or None
        Elements to be packed in place of the checkpoint's.
    """

    checkpoint: Checkpoint
    info: TensorInfo
    given: AnyArray | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Its dtype."""
        return self.info.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.info.shape

    def read(self) -> AnyArray:
        """Its elements; may be called more than once. Raises InputError for bad data."""
        return self.original() if self.given is None else self.given

    def original(self) -> AnyArray:
        """What the checkpoint has. Raises InputError for bad data."""
        return self.checkpoint.read(self.info.name)


@dataclass(frozen=True, slots=True)
class Sources:
    """A checkpoint's tensors.

    Attributes
    ----------
    checkpoint : Checkpoint
    stored : list of Source
        Those to be stored.
    aliases : dict of str to str
        The others, each with one that it equals.
    """

    checkpoint: Checkpoint
    stored: list[Source]
    aliases: dict[str, str]

    def giving(self, arrays: Mapping[str, AnyArray]) -> Sources:
        """The same with some arrays in place of the stored tensors of their names."""
        stored = [replace(source, given=arrays.get(source.name)) for source in self.stored]
        return replace(self, stored=stored)

    @property
    def tied(self) -> dict[str, list[str]]:
        """The names under which else each stored tensor is used, if there are any."""
        tied: dict[str, list[str]] = {}
        for name in self.checkpoint.ties:
            tied.setdefault(self.original(name), []).append(name)
        return tied

    def original(self, name: str) -> str:
        """The stored tensor that a tensor equals."""
        while name in self.aliases:
            name = self.aliases[name]
        return name


def find_sources(checkpoint: Checkpoint, recipe: Recipe, apart: Container[str] = ()) -> Sources:
    """Find the tensors that need not be stored, with those they equal.

    Those to be kept `apart` are stored for themselves unless they are tied.
    """
    aliases = dict(checkpoint.ties)
    tied_to = set(aliases.values())
    seen: dict[tuple[object, ...], str] = {}
    stored = []
    alike = _lookalikes(checkpoint, recipe)
    for name, info in checkpoint.tensors.items():
        if name in aliases:
            continue
        if name not in alike or name in apart:
            stored.append(Source(checkpoint, info))
            continue
        array = checkpoint.read(name)
        first = seen.setdefault((*alike[name], tensor_digest(array)), name)
        # What others are tied to keeps its own place, so that they share memory with it again.
        if first != name and name not in tied_to and _equal(array, checkpoint.read(first)):
            aliases[name] = first
        else:
            stored.append(Source(checkpoint, info))
    return Sources(checkpoint, stored, aliases)


def _lookalikes(checkpoint: Checkpoint, recipe: Recipe) -> dict[str, tuple[object, ...]]:
    """The untied tensors that another may equal, with what they have in common.

    Only those have to be read to find equal ones: tensors whose first elements differ do not.
    """
    settings = recipe.settings_by_name(checkpoint.tensors)
    looks: dict[str, tuple[object, ...]] = {
        name: (info.dtype, info.shape, settings[name])
        for name, info in checkpoint.tensors.items()
        if name not in checkpoint.ties
    }
    alike = _not_alone(looks)
    return _not_alone(
        {name: (*look, checkpoint.corner(name).tobytes()) for name, look in alike.items()}
    )


def _not_alone(looks: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    counts = Counter(looks.values())
    return {name: look for name, look in looks.items() if counts[look] > 1}


def _equal(a: AnyArray, b: AnyArray) -> bool:
    return bool(np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8)))
