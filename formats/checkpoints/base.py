"""What every reader of a foreign format gives: named tensors, read one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from ...codec.errors import UnsupportedError
from ..container.dtypes import NumpyDType, by_numpy
from ..container.tensor_info import TensorInfo, check_size

Array: TypeAlias = np.ndarray[Any, Any]
Read: TypeAlias = Callable[[str], Array]
CORNER = 8


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that a file holds beside the tensors that are read of it.

    Attributes
    ----------
    key : str
        The way to it, joined by dots.
    what : str
        What it is, in a few words.
    tensors, nbytes : int
        How many tensors it holds, and how large they are.
    """

    key: str
    what: str
    tensors: int
    nbytes: int


class Checkpoint(ABC):
    """An open checkpoint: a context manager that lists its tensors and reads them one by one.

    Attributes
    ----------
    path : str
        The file, or a word in angle brackets for what is in memory.
    format : str
        The format's name.
    tensors : dict of str to TensorInfo
        In the order of the source.
    metadata : dict of str to str
        The user's, empty where the format has none.
    ties : dict of str to str
        Name to an earlier name that lies in exactly the same memory.
    state_dict_key : str or None
        Under which key of a training checkpoint the tensors were found.
    left_out : list of LeftOut
        What else the file holds.
    """

    format: ClassVar[str]

    def __init__(self, path: str) -> None:
        self.path = path
        self.tensors: dict[str, TensorInfo] = {}
        self.metadata: dict[str, str] = {}
        self.ties: dict[str, str] = {}
        self.state_dict_key: str | None = None
        self.left_out: list[LeftOut] = []

    @abstractmethod
    def read(self, name: str) -> Array:
        """Return one tensor: C-contiguous, little-endian, read-only; KeyError for an unknown name.

        It is a view of the file or of the caller's memory where that is possible.
        """

    def corner(self, name: str) -> Array:
        """Return a few elements, the same ones of tensors of one shape, without reading the rest.

        There are none where the format has no such way.
        """
        return np.empty(0, self.tensors[name].dtype)

    def close(self) -> None:  # noqa: B027 - what is in memory has nothing to close
        """Let go of the source; arrays that were read stay valid."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def checked_info(name: str, dtype: NumpyDType, shape: Sequence[int]) -> TensorInfo:
    """Return the description of a tensor that can be held in memory and named in a file.

    Raises
    ------
    UnsupportedError
        Unknown element type, more than 32 dimensions, a size beyond 2^63 - 1 bytes, or a
        name that is not valid Unicode.
    """
    row = by_numpy(dtype)
    check_size(shape, row.itemsize)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnsupportedError("the name is not valid Unicode") from None
    return TensorInfo(name, row.numpy, tuple(int(size) for size in shape))


def canonical_array(array: Array) -> Array:
    """Return the array C-contiguous, aligned, little-endian and read-only, bit for bit.

    It is a view where the array is all that already, a copy otherwise.
    """
    plain = np.asarray(array)
    little = by_numpy(plain.dtype).numpy
    if plain.dtype != little:
        plain = plain.byteswap().view(little)
    if not (plain.flags.c_contiguous and plain.flags.aligned):
        plain = np.require(plain, requirements=["C_CONTIGUOUS", "ALIGNED"])
    view = plain.view()
    view.flags.writeable = False
    return view


def corner_of(array: Array) -> Array:
    """Return the first elements along each axis."""
    return canonical_array(array[(slice(CORNER),) * array.ndim])


def read_as(read: Read, info: TensorInfo) -> Array:
    """Read a tensor that is about to be written, in C order, and check that it is as announced."""
    array = np.require(read(info.name), requirements=["C_CONTIGUOUS"])
    if array.shape != info.shape or array.dtype != info.dtype:
        raise ValueError(
            f"{info.name!r} was announced as {info.dtype}{list(info.shape)} "
            f"and read as {array.dtype}{list(array.shape)}"
        )
    return array


def bytes_of(array: Array) -> memoryview:
    """Return the memory of a C-contiguous array as bytes, without copying it."""
    return array.reshape(-1).view(np.uint8).data
