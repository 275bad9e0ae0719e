"""A tensor that can be listed and read, wherever it lies: what a state dict's names stand for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ....codec.errors import DczError, InputError
from ...container.dtypes import by_torch
from ...container.tensor_info import TensorInfo
from ..base import CORNER, Array, canonical_array, checked_info

_SPARED_BYTES = 1 << 28
_MAX_REPEATS = 64


class Entry(ABC):
    """A tensor that can be listed and read."""

    @abstractmethod
    def info(self, name: str) -> TensorInfo:
        """Describe it; InputError or UnsupportedError if its elements can't be read."""

    @property
    def nbytes(self) -> int:
        """Size of its elements in bytes; 0 if they can't be read."""
        try:
            return self.info("").nbytes
        except DczError:
            return 0

    @abstractmethod
    def array(self) -> Array:
        """Return its elements as `Checkpoint.read` gives them."""

    @abstractmethod
    def corner(self) -> Array:
        """Return the first elements along each axis."""

    @abstractmethod
    def identity(self) -> object:
        """Return what two tensors have in common only if they lie in exactly the same memory."""


class Storage:
    """The memory that tensors of a file lie in.

    Attributes
    ----------
    dtype : str
        PyTorch's name of the type that offsets count, "uint8" where they count bytes.
    nbytes : int
        Size in bytes.
    load : function
        Gives the bytes as a one-dimensional array of uint8.
    is_big_endian : bool
    """

    __slots__ = ("dtype", "is_big_endian", "load", "nbytes")

    def __init__(
        self, dtype: str, nbytes: int, load: Callable[[], Array], is_big_endian: bool = False
    ) -> None:
        self.dtype = dtype
        self.nbytes = nbytes
        self.load = load
        self.is_big_endian = is_big_endian


@dataclass(eq=False, slots=True)
class StoredTensor(Entry):
    """A view of a storage.

    Attributes
    ----------
    storage : Storage
    dtype : str
        PyTorch's name of the element type.
    offset : int
        Of the first element, in elements.
    shape, strides : tuple of int
        In elements.
    conjugate, negative : bool
        Whether the values are the elements' conjugates, or have the other sign.
    requires_grad, is_parameter : bool
    """

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conjugate: bool = False
    negative: bool = False
    requires_grad: bool = False
    is_parameter: bool = False

    def info(self, name: str) -> TensorInfo:
        """Describe it; refuse what reaches out of its storage."""
        info = checked_info(name, by_torch(self.dtype).numpy, self.shape)
        needed = self._extent * info.dtype.itemsize
        if needed > self.storage.nbytes:
            raise InputError(
                f"reaches to byte {needed} of a storage that has {self.storage.nbytes}"
            )
        if info.nbytes > max(_SPARED_BYTES, _MAX_REPEATS * self.storage.nbytes):
            raise InputError(f"repeats {self.storage.nbytes} bytes to make {info.nbytes} of them")
        return info

    @property
    def _extent(self) -> int:
        """Where it ends in its storage, in elements."""
        if 0 in self.shape:
            return 0
        pairs = zip(self.shape, self.strides, strict=True)
        return self.offset + 1 + sum((size - 1) * stride for size, stride in pairs)

    def _view(self) -> Array:
        info = self.info("")
        if not info.numel:
            return np.empty(info.shape, info.dtype)
        size = info.dtype.itemsize
        elements = self.storage.load()[self.offset * size : self._extent * size]
        if self.storage.is_big_endian:
            elements = _swapped(elements, size // 2 if info.dtype.kind == "c" else size)
        strides = [stride * size for stride in self.strides]
        return np.ndarray(info.shape, info.dtype, elements.data, 0, strides)

    def _resolved(self, values: Array) -> Array:
        values = canonical_array(values)
        if self.conjugate:
            values = np.conj(values)
        if self.negative:
            values = np.negative(values)
        return canonical_array(values)

    def array(self) -> Array:
        """Return a view of the storage, or a copy where it is not in C order."""
        return self._resolved(self._view())

    def corner(self) -> Array:
        """Return the first elements along each axis."""
        return self._resolved(self._view()[(slice(CORNER),) * len(self.shape)])

    def identity(self) -> object:
        """Return storage, place and layout."""
        place = id(self.storage), self.offset, self.shape, self.strides
        return *place, self.dtype, self.conjugate, self.negative


def _swapped(elements: Array, unit: int) -> Array:
    return np.ascontiguousarray(elements.reshape(-1, unit)[:, ::-1]).reshape(-1)


@dataclass(eq=False, slots=True)
class UnreadableTensor(Entry):
    """A tensor that has no plain elements: sparse, quantized and others."""

    cause: str

    def info(self, name: str) -> TensorInfo:
        """Raise InputError."""
        raise InputError(self.cause)

    def array(self) -> Array:
        """Raise InputError."""
        raise InputError(self.cause)

    corner = array

    def identity(self) -> object:
        """Return itself: it is like no other."""
        return id(self)


def contiguous(storage: Storage, dtype: str, shape: tuple[int, ...]) -> StoredTensor:
    """Return all of a storage as a tensor in C order."""
    steps = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    return StoredTensor(storage, dtype, 0, shape, tuple(steps))
