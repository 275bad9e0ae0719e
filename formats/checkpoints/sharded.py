"""Reads a safetensors checkpoint that is spread over several files with one JSON index."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ...codec.errors import InputError, located
from .base import Array, Checkpoint
from .safetensors import SafetensorsCheckpoint, parse_json_object

MAX_INDEX_BYTES = 100_000_000


class ShardedCheckpoint(Checkpoint):
    """A `model.safetensors.index.json` with the shards it names, all in its own directory.

    Raises
    ------
    InputError
        The index is malformed, names a file elsewhere or one that is missing, or the shards
        do not hold exactly the tensors it says.
    """

    format = "safetensors-index"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path))
        with located(file=self.path):
            self._shard_of = _weight_map(self.path)
            self._shards: dict[str, SafetensorsCheckpoint] = {}
            for shard in dict.fromkeys(self._shard_of.values()):
                self._shards[shard] = SafetensorsCheckpoint(_shard_path(self.path, shard))
            self._collect()

    def read(self, name: str) -> Array:
        """Return a read-only view of the shard that holds the tensor."""
        return self._shards[self._shard_of[name]].read(name)

    def corner(self, name: str) -> Array:
        """Return the first elements along each axis."""
        return self._shards[self._shard_of[name]].corner(name)

    def close(self) -> None:
        """Let go of all shards."""
        for shard in self._shards.values():
            shard.close()
        self.tensors = {}

    def _collect(self) -> None:
        for name, shard in self._shard_of.items():
            if name not in self._shards[shard].tensors:
                raise InputError(f"not in {shard}, where the index puts it", tensor=name)
            self.tensors[name] = self._shards[shard].tensors[name]
        for shard, checkpoint in self._shards.items():
            for name in checkpoint.tensors:
                if self._shard_of.get(name) != shard:
                    raise InputError(f"in {shard}, where the index does not put it", tensor=name)
            self.metadata = checkpoint.metadata | self.metadata
            self.left_out += [
                replace(part, key=f"{shard}: {part.key}") for part in checkpoint.left_out
            ]


def _weight_map(path: str) -> dict[str, str]:
    with open(path, "rb") as stream:
        text = stream.read(MAX_INDEX_BYTES + 1)
    if len(text) > MAX_INDEX_BYTES:
        raise InputError(f"the index is over {MAX_INDEX_BYTES} bytes")
    found: Any = parse_json_object(text, "the index").get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError("the index has no weight_map from tensor names to file names")
    return found


def _shard_path(index: str, shard: str) -> str:
    """Return the path of a shard, which must lie beside the index, symbolic links resolved.

    Both may be links into one directory, as in the Hugging Face cache.
    """
    if not shard or shard in (".", "..") or any(mark in shard for mark in "/\\\0"):
        raise InputError(f"shard {shard!r} is not a plain file name")
    path = os.path.join(os.path.dirname(index), shard)
    if not os.path.isfile(path):
        raise InputError(f"shard {shard!r} is missing")
    if os.path.dirname(os.path.realpath(path)) != os.path.dirname(os.path.realpath(index)):
        raise InputError(f"shard {shard!r} is a link out of the index's directory")
    return path
