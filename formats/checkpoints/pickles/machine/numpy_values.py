"""What pickles call to make NumPy's arrays, scalars and element types."""

from __future__ import annotations

import math

import numpy as np

from .....codec.errors import InputError
from ....container.dtypes import DTYPES, NumpyDType
from ..entries import Storage, StoredTensor, contiguous
from .machine import Arguments, Builder
from .records import Global, Record, Stateful

MAX_NUMPY_DIMENSIONS = 64  # of NumPy 2

_NATIVE = {f"{row.numpy.kind}{row.itemsize}": row.numpy for row in DTYPES if row.is_native}
_NAMED = {row.name: row.numpy for row in DTYPES}


class NumpyDtype(Stateful):
    """A `numpy.dtype`; `dtype` is None if it is none of plain numbers.

    Attributes
    ----------
    dtype : numpy.dtype or None
    name : str
        As the pickle has it.
    """

    __slots__ = ("dtype", "name")

    def __init__(self, dtype: NumpyDType | None, name: str) -> None:
        self.dtype = dtype
        self.name = name

    def build(self, state: object) -> None:
        """Take the byte order; with subarrays or fields it is none of plain numbers."""
        if not isinstance(state, tuple) or len(state) < 5:
            raise InputError("its pickle has a NumPy dtype without a byte order")
        if any(part is not None for part in state[2:5]):
            self.dtype = None
        elif state[1] == ">" and self.dtype is not None:
            self.dtype = self.dtype.newbyteorder(">")


class NumpyArray(Stateful):
    """A `numpy.ndarray`; `tensor` is None as long as it has no elements, or none that are numbers.

    Attributes
    ----------
    tensor : StoredTensor or None
    shape : tuple of int
    name : str
        Of its dtype, as the pickle has it.
    """

    __slots__ = ("name", "shape", "tensor")

    def __init__(self) -> None:
        self.tensor: StoredTensor | None = None
        self.shape: tuple[int, ...] = (0,)
        self.name = "unknown"

    def build(self, state: object) -> None:
        """Take version, shape, dtype, order and elements."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise InputError("its pickle has a NumPy array without elements")
        _, shape, dtype, is_fortran, elements = state
        self.fill(shape, dtype, elements, is_fortran is True)

    def fill(self, shape: object, dtype: object, elements: object, is_fortran: bool) -> None:
        """Take what an array is made of; what is not made of numbers stays without a tensor."""
        if not isinstance(dtype, NumpyDtype) or not isinstance(shape, tuple):
            raise InputError("its pickle has a NumPy array without dtype and shape")
        sizes = tuple(size for size in shape if type(size) is int and size >= 0)
        if len(sizes) != len(shape) or len(shape) > MAX_NUMPY_DIMENSIONS:
            raise InputError("its pickle has a NumPy array whose shape is none")
        self.shape, self.name = sizes, dtype.name
        raw = _raw(elements)
        if dtype.dtype is None or raw is None:
            return
        if len(raw) != math.prod(sizes) * dtype.dtype.itemsize:
            raise InputError(f"its pickle has {len(raw)} bytes for a NumPy array of {sizes}")
        flat = np.frombuffer(raw, np.uint8)
        storage = Storage("uint8", len(raw), lambda: flat, dtype.dtype.byteorder == ">")
        self.tensor = contiguous(storage, dtype.dtype.name, sizes[::-1] if is_fortran else sizes)
        if is_fortran:
            self.tensor.shape, self.tensor.strides = sizes, self.tensor.strides[::-1]


def _raw(elements: object) -> bytes | bytearray | memoryview | None:
    if isinstance(elements, str):  # of Python 2, and valid UTF-8 by chance
        return elements.encode()
    return elements if isinstance(elements, (bytes, bytearray, memoryview)) else None


def _dtype(arguments: Arguments) -> object:
    kind = arguments[0] if arguments else None
    if isinstance(kind, Global):
        return NumpyDtype(_NAMED.get(kind.name), str(kind))
    if not isinstance(kind, str):
        raise InputError("its pickle has a NumPy dtype without a name")
    return NumpyDtype(_NATIVE.get(kind), kind)


def _array(arguments: Arguments) -> object:
    return NumpyArray()


def _from_buffer(arguments: Arguments) -> object:
    if len(arguments) != 4:
        raise InputError("its pickle has a NumPy array without elements")
    elements, dtype, shape, order = arguments
    array = NumpyArray()
    array.fill(shape, dtype, elements, order == "F")
    return array


def _scalar(arguments: Arguments) -> object:
    """A number of NumPy; a record if it is no plain one."""
    if len(arguments) == 2 and isinstance(arguments[0], NumpyDtype):
        dtype, raw = arguments[0].dtype, _raw(arguments[1])
        if dtype is not None and dtype.kind != "c" and raw is not None:
            if len(raw) != dtype.itemsize:
                raise InputError(f"its pickle has a NumPy scalar of {len(raw)} bytes")
            return np.frombuffer(raw, dtype)[0]
    return Record(Global("numpy.core.multiarray", "scalar"), arguments)


NUMPY_BUILDERS: dict[str, Builder] = {
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
}
