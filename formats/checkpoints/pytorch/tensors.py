"""Between NumPy arrays and PyTorch tensors, bit for bit, also for types one of them lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ....codec.errors import InputError, UnsupportedError
from ...container.dtypes import DType, by_numpy, by_torch
from ..base import Array, canonical_array

if TYPE_CHECKING:
    import torch

_INTEGER_OF_SIZE = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}


def require_torch() -> None:
    """Import PyTorch, which takes seconds; UnsupportedError if it is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UnsupportedError("this needs PyTorch: pip install dcz[torch]") from None


def tensor_from_array(array: Array) -> torch.Tensor:
    """Return a tensor of the same bits, on the array's own memory where PyTorch can use it.

    An array that is read-only, strided or big-endian is copied.

    Raises
    ------
    UnsupportedError
        PyTorch, or its installed release, has no such element type.
    """
    require_torch()
    import torch

    row = by_numpy(array.dtype)
    if row.torch is None or not hasattr(torch, row.torch):
        raise UnsupportedError(f"PyTorch {torch.__version__} has no {row.name}")
    plain = array if array.dtype == row.numpy else canonical_array(array)
    usable = np.asarray(plain)
    if not usable.flags.carray:
        usable = np.require(usable, requirements=["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"])
    if row.is_native:
        return torch.from_numpy(usable)
    integers = torch.from_numpy(usable.view(_INTEGER_OF_SIZE[row.itemsize]))
    return integers.view(getattr(torch, row.torch))


def array_from_tensor(tensor: torch.Tensor) -> Array:
    """Return a read-only C-contiguous array of the same bits, on the tensor's memory if it can be.

    Raises
    ------
    InputError
        The tensor has no plain elements: sparse, quantized, nested, lazy or on the meta device.
    UnsupportedError
        An element type this release does not know.
    """
    require_torch()
    import torch

    row = tensor_dtype(tensor)
    plain = tensor.detach().resolve_conj().resolve_neg().cpu()
    if row.itemsize in _INTEGER_OF_SIZE:
        plain = plain.view(getattr(torch, _INTEGER_OF_SIZE[row.itemsize]))
    else:
        plain = torch.view_as_real(plain)
    # NumPy copies a strided tensor without waking PyTorch's thread pool.
    elements = np.ascontiguousarray(plain.numpy()).reshape(-1).view(row.numpy)
    return canonical_array(elements.reshape(tuple(tensor.shape)))


def tensor_dtype(tensor: torch.Tensor) -> DType:
    """Return the element type of a tensor whose elements can be read; errors as in reading."""
    require_torch()
    import torch

    if torch.nn.parameter.is_lazy(tensor):
        raise InputError("is a lazy parameter that was never given a shape")
    if tensor.is_nested:
        raise InputError("is a nested tensor: call unbind() and store its parts")
    if tensor.layout is not torch.strided:
        raise InputError(f"is sparse ({tensor.layout}): call to_dense() before saving")
    if tensor.is_quantized:
        raise InputError("is a quantized tensor: save int_repr() and its scale instead")
    if tensor.is_meta:
        raise InputError("is on the meta device and has no content")
    return by_torch(str(tensor.dtype).removeprefix("torch."))
