"""Byte planes come back bit for bit, in both backends, whatever the elements."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcz.codec.decode import byte_planes, plane_methods
from dcz.codec.encode import byte_planes as planes
from dcz.codec.encode import choice
from dcz.codec.encode.frame import Frame
from dcz.codec.kernels.reference.decode import planes as reference_planes
from dcz.codec.report.describe import describe
from dcz.codec.wire.arrays import Member
from dcz.formats.container.dtypes import DTYPES

try:
    from dcz.codec.kernels.native import planes as native_planes
except ImportError:
    BACKENDS: list[ModuleType] = [reference_planes]
else:
    BACKENDS = [reference_planes, native_planes]

Array = npt.NDArray[Any]
SIZES = [0, 1, 7, 8, 9, 1023, 1024, 1025, 5000]
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]

backends = pytest.mark.parametrize("kernels", BACKENDS, ids=lambda m: m.__name__.split(".")[-1])
each_float = pytest.mark.parametrize("dtype", FLOATS, ids=lambda t: np.dtype(t).name)


def noise(size: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def decode(frame: Frame, members: Sequence[Member]) -> Array:
    decoder = byte_planes.Decoder(memoryview(frame.payload), members)
    assert describe(decoder) == frame.description
    out = np.empty(sum(member.numel for member in members), members[0].dtype)
    decoder.decode(0, out.size, out)
    return out


def round_trip(array: Array) -> Frame:
    frame = planes.encode([array])
    assert decode(frame, [Member(array.dtype, array.size)]).tobytes() == array.tobytes()
    return frame


def methods(frame: Frame, array: Array) -> list[list[int]]:
    decoder = byte_planes.Decoder(memoryview(frame.payload), [Member(array.dtype, array.size)])
    return [[plane.method for plane in chunk] for chunk in decoder.chunks]


@backends
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_planes_are_the_bytes(kernels: ModuleType, size: int, rotated: bool) -> None:
    for itemsize in (2, 4, 8) if rotated else (1, 2, 4, 8, 16):
        raw = noise(size * itemsize)
        elements = raw.view(f"V{itemsize}" if itemsize == 16 else f"u{itemsize}")
        cut = kernels.split_planes(elements, rotated=rotated)
        words = [
            int.from_bytes(raw[i : i + itemsize], "little") for i in range(0, raw.size, itemsize)
        ]
        if rotated:
            bits = 8 * itemsize
            words = [(word << 1 | word >> (bits - 1)) % 2**bits for word in words]
        for plane in range(itemsize):
            assert cut[plane].tolist() == [word >> 8 * plane & 255 for word in words]
        out = np.empty_like(elements)
        kernels.join_planes([plane.tobytes() for plane in cut], out, rotated=rotated)
        assert out.tobytes() == raw.tobytes()


@backends
@pytest.mark.parametrize("size", SIZES)
def test_one_byte_stands_for_a_plane(kernels: ModuleType, size: int) -> None:
    cut = noise(4 * size).reshape(4, size)
    cut[2] = 77
    whole, short = np.empty(size, np.uint32), np.empty(size, np.uint32)
    kernels.join_planes(list(cut), whole, rotated=True)
    kernels.join_planes([cut[0], cut[1], b"M", cut[3]], short, rotated=True)
    assert np.array_equal(whole, short)


@backends
@pytest.mark.parametrize("low_bits", range(1, 8))
@pytest.mark.parametrize("size", SIZES)
def test_pairs_of_planes(kernels: ModuleType, size: int, low_bits: int) -> None:
    low, high = noise(size, 1), noise(size, 2) // 2 + 60
    symbols, counts = kernels.pair_symbols(low, high, low_bits)
    plain = [int(h) << 8 - low_bits | int(b) >> low_bits for b, h in zip(low, high, strict=True)]
    assert symbols.tolist() == plain
    assert np.array_equal(counts, np.bincount(plain, minlength=256 << 8 - low_bits))
    packed = kernels.pack_bits(low, low_bits)
    bits = "".join(f"{int(b) & (1 << low_bits) - 1:0{low_bits}b}"[::-1] for b in low)
    assert int.from_bytes(packed.tobytes(), "little") == int(bits[::-1] or "0", 2)
    assert packed.size == -(-size * low_bits // 8)
    pairs = high.astype(np.uint16) << 8 | low >> low_bits << low_bits
    again_low, again_high = kernels.split_pairs(pairs, packed.tobytes(), low_bits)
    assert np.array_equal(again_low, low)
    assert np.array_equal(again_high, high)


@backends
@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_counted(kernels: ModuleType, size: int) -> None:
    plane = noise(size) // 3
    assert kernels.count_bytes(plane).tolist() == [plane.tolist().count(b) for b in range(256)]


@backends
def test_kernels_refuse_what_does_not_fit(kernels: ModuleType) -> None:
    byte, word = np.zeros(8, np.uint8), np.zeros(8, np.uint32)
    pairs = np.zeros(8, np.uint16)
    for call in (
        lambda: kernels.split_planes(byte, rotated=True),
        lambda: kernels.split_planes(np.zeros(2, "V16"), rotated=True),
        lambda: kernels.split_planes(word[::2], rotated=True),
        lambda: kernels.split_planes(np.zeros(2, "V3"), rotated=False),
        lambda: kernels.join_planes([byte] * 3, word, rotated=True),
        lambda: kernels.join_planes([byte] * 5, word, rotated=True),
        lambda: kernels.join_planes([byte, byte, byte, byte[:7]], word, rotated=True),
        lambda: kernels.pair_symbols(byte, byte[:7], 6),
        lambda: kernels.pair_symbols(byte, byte, 0),
        lambda: kernels.pair_symbols(byte, byte, 8),
        lambda: kernels.pack_bits(byte, 8),
        lambda: kernels.pack_bits(word, 4),
        lambda: kernels.split_pairs(pairs, bytes(5), 6),
        lambda: kernels.split_pairs(pairs, bytes(7), 6),
        lambda: kernels.split_pairs(pairs, bytes(8), 8),
        lambda: kernels.count_bytes(word),
    ):
        with pytest.raises(ValueError):
            call()


@pytest.mark.parametrize("dtype", [row.numpy for row in DTYPES], ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_bits_of_any_dtype(dtype: np.dtype[Any], data: st.DataObject) -> None:
    if dtype == np.bool_:
        return
    few = data.draw(
        st.lists(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize), min_size=1)
    )
    size = data.draw(st.sampled_from([1, 2, 17, 300, 5000]))
    seed = data.draw(st.integers(0, 2**32))
    words = np.frombuffer(b"".join(few), np.uint8).reshape(-1, dtype.itemsize)
    chosen = words[np.random.default_rng(seed).integers(0, len(few), size)].copy()
    scattered = np.random.default_rng(seed).random(chosen.shape) < data.draw(st.floats(0, 0.5))
    chosen[scattered] = noise(int(scattered.sum()), seed)
    round_trip(np.ascontiguousarray(chosen).reshape(-1).view(dtype))


@each_float
def test_every_pattern_of_a_float(dtype: type) -> None:
    """NaN payloads, signed zeros and denormals among ordinary weights."""
    size = np.dtype(dtype).itemsize
    top = np.arange(1 << 16, dtype=np.uint64) << (8 * size - 16)
    low = np.array([0, 1, 2**40 + 5], np.uint64) % (1 << max(8 * size - 16, 1))
    odd = (top[:, None] | low[: 3 if size > 2 else 1]).reshape(-1).astype(f"u{size}").view(dtype)
    weights = np.random.default_rng(0).normal(size=300_000).astype(dtype)
    weights[::7][: odd.size] = odd[: weights[::7].size]
    round_trip(odd)
    round_trip(weights)


@each_float
def test_weights_are_coded_in_pairs_and_below_the_entropy_of_bytes(dtype: type) -> None:
    array = np.random.default_rng(1).normal(0, 0.02, 300_000).astype(dtype)
    frame = round_trip(array)
    if dtype is np.float16:
        return
    assert all(
        chunk[-2:] == [plane_methods.LOW_BITS, plane_methods.JOINED]
        for chunk in methods(frame, array)
    )
    size = np.dtype(dtype).itemsize
    number = array.view(f"u{size}")
    words = (number << 1 | number >> (8 * size - 1)).view(np.uint8).reshape(-1, size)
    bits = 0.0
    for plane in words.T:
        counts = np.bincount(plane)
        counts = counts[counts > 0]
        bits -= float((counts * np.log2(counts / array.size)).sum())
    assert 8 * len(frame.payload) < bits


@pytest.mark.parametrize("narrow", [np.float16, ml_dtypes.bfloat16, np.float32, np.int16, np.int8])
@pytest.mark.parametrize("wide", [np.float32, np.float64])
def test_widened_tensors_take_little_more_than_narrow_ones(narrow: type, wide: type) -> None:
    values = np.random.default_rng(2).normal(
        0, 300 if np.dtype(narrow).kind == "i" else 0.02, 200_000
    )
    array = values.clip(-127, 127).astype(narrow)
    widened = array.astype(wide)
    assert np.array_equal(widened.astype(narrow), array)
    before, after = len(planes.encode([array]).payload), len(round_trip(widened).payload)
    assert after < 1.03 * before if np.dtype(narrow).kind != "i" else after < 1.5 * before


def test_equal_rows_and_runs_cost_next_to_nothing() -> None:
    generator = np.random.default_rng(3)
    rows = np.tile(generator.normal(size=3000).astype(np.float32), 100)
    assert len(round_trip(rows).payload) < rows.nbytes / 50
    half = generator.normal(size=300_000).astype(np.float32)
    half[1000:290_000] = 0
    assert len(round_trip(half).payload) < half.nbytes / 20


def test_frames_of_several_tensors() -> None:
    generator = np.random.default_rng(4)
    arrays = [generator.normal(size=size).astype(np.float32) for size in (5, 0, 3000, 1)]
    arrays[2][:7] = [0.0, -0.0, np.nan, 1e-40, np.inf, -1e-45, 1]
    frame = planes.encode(arrays)
    members = [Member(array.dtype, array.size) for array in arrays]
    assert decode(frame, members).tobytes() == b"".join(array.tobytes() for array in arrays)
    assert frame.description.nonzero == tuple(np.count_nonzero(array) for array in arrays)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=str)
def test_a_codebook_is_sought_only_where_it_may_pay(dtype: type) -> None:
    generator = np.random.default_rng(5)
    weights = generator.normal(0, 0.02, 200_000).astype(dtype)
    assert choice.is_too_varied(weights)
    levels = np.unique(generator.normal(0, 0.02, 60).astype(dtype))
    assert not choice.is_too_varied(generator.choice(levels, 200_000))
    assert not choice.is_too_varied(weights[:1000])
    assert not choice.is_too_varied(weights.astype(np.float32))


def test_noise_takes_the_memory_of_its_payload_and_little_more() -> None:
    """Nothing is saved, and the planes' heads come on top."""
    array = noise(1 << 24)
    tracemalloc.start()
    try:
        frame = planes.encode([array])
        assert tracemalloc.get_traced_memory()[1] < 1.25 * array.nbytes
    finally:
        tracemalloc.stop()
    assert len(frame.payload) > array.nbytes


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("seed", range(8))
def test_no_payload_is_larger_than_its_memory(
    dtype: type, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks so short that heads are much of the payload."""
    for module in (byte_planes, planes):
        monkeypatch.setattr(module, "CHUNK", 1 + 3 * seed)
    size = np.dtype(dtype).itemsize
    for spread in (1, 3, 255):
        round_trip((noise(40 * size, seed) % spread).view(dtype))
