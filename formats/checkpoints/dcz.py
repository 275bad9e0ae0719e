"""A `.dcz` file seen as a checkpoint like any other: to compare it, repack it, unpack it."""

from __future__ import annotations

import os

from ..container.limits import DEFAULT_LIMITS, DecodeLimits
from ..container.reader import Reader
from .base import Array, Checkpoint


class DczCheckpoint(Checkpoint):
    """The tensors of a `.dcz` file, each decoded when it is read."""

    format = "dcz"

    def __init__(self, path: str | os.PathLike[str], limits: DecodeLimits = DEFAULT_LIMITS) -> None:
        super().__init__(os.fspath(path))
        self.archive = Reader(path, limits=limits)
        self.tensors = {name: self.archive.info(name) for name in self.archive}
        self.metadata = dict(self.archive.metadata)
        self.ties = self.archive.ties

    def read(self, name: str) -> Array:
        """Decode a tensor. Raises CorruptError for bad data."""
        array = self.archive[name]
        array.flags.writeable = False
        return array

    def close(self) -> None:
        """Close the file."""
        self.archive.close()
