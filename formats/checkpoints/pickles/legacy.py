"""PyTorch's files before the zip format: five pickles, one after the other, and the storages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import numpy as np

from ....codec.errors import InputError
from ..base import Array
from .entries import Storage
from .machine.machine import MAX_MEMORY, Builder, Machine, Persistent, no_persistent
from .machine.records import Global
from .machine.tape import Tape
from .tensors import ITEMSIZES, checked_count, parse_storage_identifier

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT_BYTES = 8


class LegacyFile:
    """The storages of a file in the format before the zip.

    Parameters
    ----------
    data : memoryview
        The whole file.
    builders : mapping of str to function
        As `Machine` takes them.
    memory : int
        What each pickle may take.
    """

    def __init__(
        self, data: memoryview, builders: Mapping[str, Builder], memory: int = MAX_MEMORY
    ) -> None:
        self._memory = memory
        self._bytes = np.frombuffer(data, np.uint8)
        self._tape = Tape(data)
        self._builders = builders
        self._is_big_endian = False
        self._storages: dict[str, Storage] = {}
        self._views: dict[tuple[str, int, int], Storage] = {}
        self._places: dict[str, tuple[int, int]] = {}

    def load(self) -> object:
        """Return the value of the file, or of its only pickle if it is none of PyTorch.

        Raises
        ------
        InputError
            It is damaged.
        """
        first = self._run()
        if first != MAGIC:
            return first
        if self._run() != _PROTOCOL:
            raise InputError("is of an unknown version of PyTorch's older format")
        system = self._run()
        self._is_big_endian = isinstance(system, dict) and system.get("little_endian") is False
        value = self._run(self._refer)
        self._find_storages(self._run())
        return value

    def _run(self, persistent: Persistent = no_persistent) -> object:
        return Machine(self._tape, self._builders, persistent, self._memory).run()

    def _refer(self, identifier: object) -> object:
        """Give a storage, or a class that was written with its source."""
        match identifier:
            case ("module", Global() as kind, *_):
                return kind
        key, dtype, size, view = parse_storage_identifier(identifier)
        if key not in self._storages:
            self._storages[key] = self._storage(key, dtype, size)
        root = self._storages[key]
        if (root.dtype, root.nbytes) != (dtype, size):
            raise InputError(f"its pickle has two kinds of the storage {key!r}")
        return root if view is None else self._view(key, root, view)

    def _storage(self, key: str, dtype: str, size: int) -> Storage:
        return Storage(dtype, size, partial(self._load, key), self._is_big_endian)

    def _view(self, key: str, root: Storage, view: object) -> Storage:
        """Give a part of a storage, of which the oldest files have some."""
        if not isinstance(view, tuple) or len(view) != 3:
            raise InputError("its pickle has a part of a storage without a place")
        item = ITEMSIZES.get(root.dtype, 1)
        start = checked_count(view[1], "an offset") * item
        size = checked_count(view[2], "a storage's size") * item
        if start + size > root.nbytes:
            raise InputError(f"its pickle has a part that ends outside of the storage {key!r}")
        load = partial(_part, root, start, start + size)
        return self._views.setdefault(
            (key, start, size), Storage(root.dtype, size, load, self._is_big_endian)
        )

    def _find_storages(self, keys: object) -> None:
        """Find the storages, which lie in this order behind the last pickle."""
        at = self._tape.at
        for key in keys if isinstance(keys, list) else ():
            storage = self._storages.get(str(key))
            if storage is None:
                raise InputError(f"it has a storage {key!r:.40} that its pickle does not name")
            count = int.from_bytes(self._bytes[at : at + _COUNT_BYTES].tobytes(), self._order)
            at += _COUNT_BYTES
            if count * ITEMSIZES.get(storage.dtype, 1) != storage.nbytes:
                raise InputError(f"its storage {key!r} is not of the size that its pickle names")
            self._places[str(key)] = at, at + storage.nbytes
            at += storage.nbytes
        if at > self._bytes.size:
            raise InputError(f"its storages are cut short: {at} bytes are due")
        for key in self._storages:
            if key not in self._places:
                raise InputError(f"it misses the storage {key!r}")

    @property
    def _order(self) -> Literal["big", "little"]:
        return "big" if self._is_big_endian else "little"

    def _load(self, key: str) -> Array:
        start, stop = self._places[key]
        return self._bytes[start:stop]


def _part(root: Storage, start: int, stop: int) -> Array:
    return root.load()[start:stop]
