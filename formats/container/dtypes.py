"""The one table of element types: their names on disk, in NumPy, safetensors and PyTorch."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ...codec.errors import UnsupportedError

NumpyDType: TypeAlias = np.dtype[Any]
Kind: TypeAlias = Literal["float", "scale", "integer", "bool", "complex"]


class DType(NamedTuple):
    """One element type.

    Parameters
    ----------
    code : int
        Its number in a `.dcz` file, below 64, never renumbered.
    name : str
        NumPy's, or that of ml_dtypes, which is also what messages and reports show.
    kind : str
        "scale" is a power of two without sign or zero (float8_e8m0fnu): it scales
        quantized weights and is never one, so it is kept apart from "float".
    safetensors, torch : str or None
        The name in a safetensors header, the attribute of `torch`; None if there is none.
    """

    code: int
    name: str
    kind: Kind
    safetensors: str | None
    torch: str | None

    @property
    def numpy(self) -> NumpyDType:
        """Little-endian; from ml_dtypes, which is imported then, where NumPy has none."""
        return _numpy(self.name)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_floating(self) -> bool:
        """True for real floating point that can hold a weight: fp64 down to fp8."""
        return self.kind == "float"

    @property
    def is_native(self) -> bool:
        """True if NumPy has the type itself, so that its own file formats can hold it."""
        return _is_native(self.name)


@cache
def _numpy(name: str) -> NumpyDType:
    return np.dtype(name if _is_native(name) else getattr(import_module("ml_dtypes"), name))


def _is_native(name: str) -> bool:
    return not name.startswith(("bfloat", "float8"))


DTYPES = (
    DType(1, "float32", "float", "F32", "float32"),
    DType(2, "float16", "float", "F16", "float16"),
    DType(3, "bfloat16", "float", "BF16", "bfloat16"),
    DType(4, "float64", "float", "F64", "float64"),
    DType(5, "float8_e4m3fn", "float", "F8_E4M3", "float8_e4m3fn"),
    DType(6, "float8_e5m2", "float", "F8_E5M2", "float8_e5m2"),
    DType(7, "float8_e4m3fnuz", "float", "F8_E4M3FNUZ", "float8_e4m3fnuz"),
    DType(8, "float8_e5m2fnuz", "float", "F8_E5M2FNUZ", "float8_e5m2fnuz"),
    DType(9, "float8_e8m0fnu", "scale", "F8_E8M0", "float8_e8m0fnu"),
    DType(10, "int8", "integer", "I8", "int8"),
    DType(11, "uint8", "integer", "U8", "uint8"),
    DType(12, "int16", "integer", "I16", "int16"),
    DType(13, "uint16", "integer", "U16", "uint16"),
    DType(14, "int32", "integer", "I32", "int32"),
    DType(15, "uint32", "integer", "U32", "uint32"),
    DType(16, "int64", "integer", "I64", "int64"),
    DType(17, "uint64", "integer", "U64", "uint64"),
    DType(18, "bool", "bool", "BOOL", "bool"),
    DType(19, "complex64", "complex", "C64", "complex64"),
    DType(20, "complex128", "complex", None, "complex128"),
)

_BY_CODE = {row.code: row for row in DTYPES}
_BY_NAME = {row.name: row for row in DTYPES}
_BY_SAFETENSORS = {row.safetensors: row for row in DTYPES if row.safetensors is not None}
_BY_TORCH = {row.torch: row for row in DTYPES if row.torch is not None}


def by_code(code: int) -> DType:
    """Return the type with this on-disk number; UnsupportedError if there is none."""
    return _found(_BY_CODE.get(code), f"dtype code {code}")


@cache
def by_numpy(dtype: NumpyDType) -> DType:
    """Return the row of a NumPy dtype of either byte order; UnsupportedError if there is none."""
    return _found(_BY_NAME.get(dtype.name), f"NumPy dtype {dtype}")


def by_safetensors(name: str) -> DType:
    """Return the type with this name in safetensors headers; UnsupportedError if there is none."""
    return _found(_BY_SAFETENSORS.get(name), f"safetensors dtype {name!r}")


def by_torch(name: str) -> DType:
    """Return the type of `torch.<name>`; UnsupportedError if there is none."""
    return _found(_BY_TORCH.get(name), f"PyTorch dtype {name}")


def _found(row: DType | None, what: str) -> DType:
    if row is None:
        raise UnsupportedError(f"{what} is not supported")
    return row
