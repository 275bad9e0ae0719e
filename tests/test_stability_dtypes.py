"""The table of element types: numbers on disk never change, names agree with the libraries."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from dcz.codec.errors import UnsupportedError
from dcz.formats.container.dtypes import DTYPES, by_code, by_numpy, by_safetensors, by_torch

CODES = {
    "float32": 1,
    "float16": 2,
    "bfloat16": 3,
    "float64": 4,
    "float8_e4m3fn": 5,
    "float8_e5m2": 6,
    "float8_e4m3fnuz": 7,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 9,
    "int8": 10,
    "uint8": 11,
    "int16": 12,
    "uint16": 13,
    "int32": 14,
    "uint32": 15,
    "int64": 16,
    "uint64": 17,
    "bool": 18,
    "complex64": 19,
    "complex128": 20,
}


def test_codes_are_never_renumbered() -> None:
    assert {row.name: row.code for row in DTYPES} == CODES
    assert all(row.code < 64 for row in DTYPES)


@pytest.mark.parametrize("row", DTYPES, ids=lambda row: row.name)
def test_every_key_leads_back_to_its_row(row) -> None:
    assert by_code(row.code) is row
    assert by_numpy(row.numpy) is row
    assert row.safetensors is None or by_safetensors(row.safetensors) is row
    assert row.torch is not None and by_torch(row.torch) is row


@pytest.mark.parametrize("row", DTYPES, ids=lambda row: row.name)
def test_torch_names_mean_the_same_type(row) -> None:
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, row.torch)
    assert dtype.itemsize == row.itemsize
    assert dtype.is_complex == (row.kind == "complex")
    assert dtype.is_floating_point == (row.kind in ("float", "scale"))


@pytest.mark.parametrize("row", DTYPES, ids=lambda row: row.name)
def test_floating_types_can_hold_a_pruned_weight(row) -> None:
    pair = np.array([0.0, -1.0]).astype(row.numpy)
    holds = pair[0] == 0 and pair[1] == -1 and np.array(0.5).astype(row.numpy) == 0.5
    assert row.is_floating == (bool(holds) and row.kind != "complex")


def test_big_endian_dtype_is_found() -> None:
    assert by_numpy(np.dtype(">f4")).name == "float32"


def test_native_types_are_those_of_numpy() -> None:
    assert by_numpy(np.dtype("f2")).is_native
    assert not by_numpy(np.dtype(ml_dtypes.bfloat16)).is_native


@pytest.mark.parametrize(
    "lookup, key",
    [
        (by_code, 0),
        (by_code, 21),
        (by_code, 63),
        (by_numpy, np.dtype("U3")),
        (by_numpy, np.dtype("M8[s]")),
        (by_numpy, np.dtype("V2")),
        (by_numpy, np.dtype([("a", "f4")])),
        (by_numpy, np.dtype("O")),
        (by_numpy, np.dtype(np.longdouble)),
        (by_numpy, np.dtype(ml_dtypes.int4)),
        (by_safetensors, "F4"),
        (by_safetensors, "f32"),
        (by_torch, "quint8"),
        (by_torch, "complex32"),
    ],
)
def test_unknown_keys_are_unsupported(lookup, key) -> None:
    with pytest.raises(UnsupportedError, match="not supported"):
        lookup(key)
