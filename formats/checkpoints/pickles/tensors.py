"""What PyTorch's files call to make tensors, and the entries that come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ....codec.errors import InputError
from .entries import Entry, Storage, StoredTensor, UnreadableTensor
from .machine.machine import Arguments, Builder
from .machine.numpy_values import MAX_NUMPY_DIMENSIONS, NumpyArray
from .machine.records import Global, Record

# The classes of typed storages; every dtype younger than them lies in an untyped one.
STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}
ITEMSIZES = {
    "float64": 8,
    "int64": 8,
    "complex64": 8,
    "complex128": 16,
    "float32": 4,
    "int32": 4,
    "qint32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
}


def storage_dtype(kind: object) -> str:
    """Return the element type of a storage's class; InputError if it is none."""
    name = kind.name if isinstance(kind, Global) else ""
    if name not in STORAGE_DTYPES:
        raise InputError(f"its pickle has a storage of an unknown class {name!r}")
    return STORAGE_DTYPES[name]


def checked_count(value: object, what: str) -> int:
    """Return a count; InputError if it is none, or no file has so many."""
    if not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise InputError(f"its pickle has {value!r:.40} as {what}")
    return int(value)


def _sizes(value: object, what: str) -> tuple[int, ...]:
    if isinstance(value, Record) and value.name == "torch.Size" and value.arguments:
        (value,) = value.arguments if isinstance(value.arguments, tuple) else (None,)
    if not isinstance(value, (tuple, list)) or len(value) > MAX_NUMPY_DIMENSIONS:
        raise InputError(f"its pickle has no {what} where a tensor's belongs")
    return tuple(checked_count(size, f"a {what}") for size in value)


def _tensor(arguments: Arguments, dtype: str | None = None, flags: object = None) -> StoredTensor:
    """Make a tensor of storage, offset, shape and strides."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise InputError("its pickle has a tensor without a storage")
    storage = arguments[0]
    offset, shape, strides = arguments[1:4]
    sizes, steps = _sizes(shape, "shape"), _sizes(strides, "stride")
    if len(sizes) != len(steps):
        raise InputError(f"its pickle has {len(steps)} strides for {len(sizes)} dimensions")
    marks = flags if isinstance(flags, dict) else {}
    return StoredTensor(
        storage,
        dtype or storage.dtype,
        checked_count(offset, "an offset"),
        sizes,
        steps,
        conjugate=marks.get("conj") is True,
        negative=marks.get("neg") is True,
        requires_grad=len(arguments) > 4 and arguments[4] is True,
    )


def _from_typed(arguments: Arguments) -> Entry:
    return _tensor(arguments, None, arguments[6] if len(arguments) > 6 else None)


def _from_untyped(arguments: Arguments) -> Entry:
    if len(arguments) < 7:
        raise InputError("its pickle has a tensor without an element type")
    return _tensor(arguments, dtype_name(arguments[6]), arguments[7] if arguments[7:] else None)


def dtype_name(value: object) -> str:
    """Return the name of a `torch.dtype`; InputError if it is none."""
    if not isinstance(value, Global) or value.module != "torch":
        raise InputError("its pickle has no element type where a tensor's belongs")
    return value.name


def _parameter(arguments: Arguments) -> object:
    if not arguments or not isinstance(arguments[0], Entry):
        raise InputError("its pickle has a parameter without a tensor")
    tensor = arguments[0]
    if not isinstance(tensor, StoredTensor):
        return tensor
    needs = len(arguments) > 1 and arguments[1] is True
    return replace(tensor, requires_grad=needs, is_parameter=True)


def _from_numpy(arguments: Arguments) -> object:
    """A tensor of an accelerator that was written by way of NumPy."""
    array = arguments[0] if arguments else None
    if isinstance(array, NumpyArray) and array.tensor is not None and len(arguments) > 1:
        tensor = array.tensor
        if dtype_name(arguments[1]) == tensor.dtype:
            return tensor
        return UnreadableTensor(f"was written as {tensor.dtype} by way of NumPy")
    raise InputError("its pickle has a tensor without elements")


def _first(arguments: Arguments) -> object:
    if not arguments or not isinstance(arguments[0], Entry):
        raise InputError("its pickle has a tensor made of none")
    return arguments[0]


def _unreadable(cause: str) -> Builder:
    return lambda arguments: UnreadableTensor(cause)


def _of_layout(arguments: Arguments) -> Entry:
    layout = arguments[0] if arguments else None
    return UnreadableTensor(f"is sparse ({layout}): call to_dense() before saving")


_QUANTIZED = _unreadable("is a quantized tensor: save int_repr() and its scale instead")
_META = _unreadable("is on the meta device and has no content")
_LAZY = _unreadable("is a lazy parameter that was never given a shape")

_PLAIN_BUILDERS: dict[str, Builder] = {
    "torch._utils._rebuild_tensor": _from_typed,
    "torch._utils._rebuild_tensor_v2": _from_typed,
    "torch._utils._rebuild_tensor_v3": _from_untyped,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_sparse_tensor": _of_layout,
    "torch._utils._rebuild_sparse_csr_tensor": _of_layout,
    "torch._utils._rebuild_qtensor": _QUANTIZED,
    "torch._utils._rebuild_meta_tensor_no_storage": _META,
    "torch._utils._rebuild_nested_tensor": _unreadable(
        "is a nested tensor: call unbind() and store its parts"
    ),
    "torch._utils._rebuild_device_tensor_from_numpy": _from_numpy,
    "torch._utils._rebuild_xla_tensor": _from_numpy,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch.nn.parameter.UninitializedParameter": _LAZY,
    "torch.nn.parameter.UninitializedBuffer": _LAZY,
    "torch.serialization._get_layout": lambda arguments: Global(
        "torch", str(arguments[0] if arguments else "").removeprefix("torch.")
    ),
}


def _from_type(arguments: Arguments) -> object:
    """A tensor of a subclass: function, class, arguments and state."""
    if len(arguments) < 3 or not isinstance(arguments[0], Global):
        raise InputError("its pickle has a tensor without a function that made it")
    inner = arguments[2]
    builder = _PLAIN_BUILDERS.get(arguments[0].known_as)
    if builder is None or not isinstance(inner, tuple):
        return UnreadableTensor(f"is made by {arguments[0]}, which is never run")
    return builder(inner)


def _same(arguments: Arguments) -> object:
    """A list or dictionary of TorchScript, which is written beside its type."""
    return arguments[0] if arguments else None


TENSOR_BUILDERS: Mapping[str, Builder] = {
    **_PLAIN_BUILDERS,
    **{f"torch.jit._pickle.build_{kind}list": _same for kind in ("int", "bool", "double")},
    "torch.jit._pickle.build_tensorlist": _same,
    "torch.jit._pickle.restore_type_tag": _same,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
}


def as_entry(value: object) -> Entry | None:
    """Return the tensor that a value of a pickle is, None if it is none."""
    if isinstance(value, NumpyArray):
        return value.tensor
    return value if isinstance(value, Entry) else None


def parse_storage_identifier(identifier: object) -> tuple[str, str, int, object]:
    """Return key, element type, number of bytes and view of a persistent identifier.

    Raises
    ------
    InputError
        It is not that of a storage.
    """
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        raise InputError("its pickle refers to something outside of it that is no storage")
    dtype = storage_dtype(identifier[1])
    count = checked_count(identifier[4], "a storage's size")
    key = identifier[2]
    if not isinstance(key, (str, int)):
        raise InputError("its pickle refers to a storage by what is no name")
    view = identifier[5] if len(identifier) > 5 else None
    return str(key), dtype, count * ITEMSIZES.get(dtype, 1), view
