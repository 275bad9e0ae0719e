"""Reads NumPy's array format: a `.npy` file, or a member of an `.npz` archive."""

from __future__ import annotations

import io
import os
import tokenize
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....codec.errors import InputError, UnsupportedError, located
from ...container.dtypes import NumpyDType
from ...container.tensor_info import TensorInfo
from ..base import Array, Checkpoint, canonical_array, checked_info

MAX_HEADER_BYTES = 16_384
# All that NumPy's parser lets through of a header that is no Python literal.
_HEADER_FAULTS = (
    *(ValueError, TypeError, SyntaxError, tokenize.TokenError),
    *(RecursionError, MemoryError),
)
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What stands before the elements of an array in NumPy's format."""

    dtype: NumpyDType
    shape: tuple[int, ...]
    fortran: bool
    size: int


class NpyCheckpoint(Checkpoint):
    """A single array in a `.npy` file, memory-mapped and named by the file's stem.

    Raises
    ------
    InputError
        The file is damaged or holds Python objects.
    UnsupportedError
        An element type this release does not know.
    """

    format = "npy"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path))
        name = Path(self.path).stem
        with located(file=self.path, tensor=name):
            with open(self.path, "rb") as stream:
                self._header = parse_npy_header(stream.read(MAX_HEADER_BYTES))
            info = checked_npy(name, self._header, os.path.getsize(self.path))
        self.tensors[name] = info
        # What is empty can't be mapped.
        self._elements = (
            np.memmap(self.path, self._header.dtype, "r", self._header.size, (info.numel,))
            if info.numel
            else np.empty(0, self._header.dtype)
        )

    def read(self, name: str) -> Array:
        """Return the array, a view of the file if it is little-endian and in C order."""
        if name not in self.tensors:
            raise KeyError(name)
        return npy_array(self._elements, self._header)

    def close(self) -> None:
        """Let go of the map, which lives on for as long as an array that was read from it."""
        self._elements = np.empty(0, self._header.dtype)
        self.tensors = {}


def parse_npy_header(head: bytes) -> NpyHeader:
    """Parse the start of an `.npy` file, in which a header can't be longer than `head`."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADER_READERS:
            raise UnsupportedError(f"version {version} of NumPy's array format is not supported")
        shape, fortran, dtype = _HEADER_READERS[version](stream)
    except _HEADER_FAULTS as error:
        raise InputError(f"not a valid NumPy array: {_first_line(error)}") from None
    if any(type(size) is not int or size < 0 for size in shape):
        raise InputError(f"shape {shape} is not of non-negative integers")
    return NpyHeader(dtype, shape, fortran, stream.tell())


def checked_npy(name: str, header: NpyHeader, file_size: int) -> TensorInfo:
    """Describe the array, whose declared size must be what stands behind its header."""
    if header.dtype.hasobject:
        raise InputError("holds Python objects, which are a pickle and never loaded")
    info = checked_info(name, header.dtype, header.shape)
    present = file_size - header.size
    if info.nbytes != present:
        raise InputError(f"shape and dtype need {info.nbytes} bytes, {present} are there")
    return info


def npy_array(elements: Array, header: NpyHeader) -> Array:
    """Give the elements, in the order of the file, the shape that the header declares."""
    if header.fortran:
        return canonical_array(elements.reshape(header.shape[::-1]).T)
    return canonical_array(elements.reshape(header.shape))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
