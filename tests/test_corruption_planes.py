"""A damaged payload of byte planes is refused, or decodes to the declared number of elements."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from dcz.codec import kernels
from dcz.codec.decode import byte_planes
from dcz.codec.encode import byte_planes as planes
from dcz.codec.errors import CorruptError
from dcz.codec.wire.arrays import Member

Array = npt.NDArray[Any]
STEP = 1 if kernels.BACKEND == "c" else 7

ARRAYS: dict[str, Array] = {
    "pairs": np.random.default_rng(0).normal(size=700).astype(ml_dtypes.bfloat16),
    "planes and pairs": np.random.default_rng(1).normal(size=300).astype(np.float32),
    "repeated": np.tile(np.arange(30, dtype=np.int32) * 12345, 8),
    "skewed": np.random.default_rng(2).binomial(9, 0.3, 400).astype(np.int8),
    "eight streams": np.random.default_rng(3).normal(size=4200).astype(ml_dtypes.bfloat16),
}
each_array = pytest.mark.parametrize("name", ARRAYS)


def attempt(payload: bytes, array: Array) -> bool:
    """Whether it decodes; anything but a CorruptError fails the test."""
    member = Member(array.dtype, array.size)
    out = np.empty(array.size + 64, array.dtype)
    out.view(np.uint8)[:] = 0xA5
    try:
        decoder = byte_planes.Decoder(memoryview(payload), [member])
        decoder.decode(0, array.size, out[: array.size])
    except CorruptError:
        return False
    finally:
        assert (out[array.size :].view(np.uint8) == 0xA5).all()
    return True


@each_array
def test_every_flipped_bit(name: str) -> None:
    array = ARRAYS[name]
    payload = planes.encode([array]).payload
    assert attempt(bytes(payload), array)
    step = STEP if len(payload) < 2000 else 5 * STEP
    for bit in range(0, 8 * len(payload), step):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        attempt(bytes(damaged), array)


@each_array
def test_every_prefix_is_refused(name: str) -> None:
    array = ARRAYS[name]
    payload = bytes(planes.encode([array]).payload)
    for size in range(0, len(payload), STEP):
        assert not attempt(payload[:size], array)
    assert not attempt(payload + b"\0", array)
