"""Corrupt coded data gives a ValueError or some values, never a crash or a write elsewhere."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcz.codec.kernels.reference import coding as reference_coding
from dcz.codec.kernels.reference.decode import codes
from dcz.codec.kernels.reference.encode import encoding

try:
    from dcz.codec.kernels.native import coding
except ImportError:
    BACKENDS: list[ModuleType] = [reference_coding]
else:
    BACKENDS = [reference_coding, coding]

Array = npt.NDArray[Any]
GUARD = 16

backends = pytest.mark.parametrize("kernels", BACKENDS, ids=lambda m: m.__name__.split(".")[-1])


def guarded(size: int) -> tuple[Array, Array]:
    """An array with known bytes around it, and the whole."""
    whole = np.full(size + 2 * GUARD, 0xA5, dtype=np.uint8)
    return whole[GUARD : GUARD + size], whole


def outcome(kernels: ModuleType, payload: bytes, sizes: list[int], lengths: Array) -> bytes | None:
    """What segments at the payload's start and after it decode to; None if they are refused."""
    out, whole = guarded(sum(sizes))
    offsets = np.zeros(len(sizes), dtype=np.int64)
    codebook = np.arange(len(lengths), dtype=np.uint8)
    try:
        kernels.decode_dense(payload, offsets, np.array(sizes), lengths, codebook, out)
        result = out.tobytes()
    except ValueError:
        result = None
    assert (whole[:GUARD] == 0xA5).all()
    assert (whole[-GUARD:] == 0xA5).all()
    return result


def agreed(payload: bytes, sizes: list[int], lengths: Array) -> bytes | None:
    """The outcome, which must be the same in all backends."""
    outcomes = [outcome(kernels, payload, sizes, lengths) for kernels in BACKENDS]
    assert all(other == outcomes[0] for other in outcomes)
    return outcomes[0]


def coded(size: int, alphabet: int, seed: int) -> tuple[Array, bytes, Array]:
    rng = np.random.default_rng(seed)
    weights = rng.random(alphabet) ** 3
    symbols = rng.choice(alphabet, size=size, p=weights / weights.sum()).astype(np.uint8)
    lengths = codes.code_lengths(encoding.count_symbols(symbols, alphabet), 11)
    payload, _ = encoding.encode_segments(symbols, np.array([0, size]), lengths)
    return symbols, payload, lengths


@pytest.mark.parametrize("size", [1, 5, 90, 300])
def test_every_flipped_bit_of_one_stream_is_refused_or_changes_the_symbols(size: int) -> None:
    symbols, payload, lengths = coded(size, 9, size)
    assert agreed(payload, [size], lengths) == symbols.tobytes()
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        assert agreed(bytes(flipped), [size], lengths) != symbols.tobytes()


def test_every_flipped_bit_of_eight_streams_is_refused_or_changes_the_symbols() -> None:
    symbols, payload, lengths = coded(4100, 3, 1)
    bits = list(range(16 * 8)) + list(range(16 * 8, 8 * len(payload), 13))
    for bit in [*bits, *range(8 * len(payload) - 64, 8 * len(payload))]:
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        assert agreed(bytes(flipped), [4100], lengths) != symbols.tobytes()


@pytest.mark.parametrize("size", [1, 300, 4096])
def test_every_truncation_is_refused(size: int) -> None:
    _, payload, lengths = coded(size, 9, size)
    for end in range(len(payload)):
        assert agreed(payload[:end], [size], lengths) is None


@pytest.mark.parametrize("size", [40, 4096])
def test_another_number_of_symbols_is_refused(size: int) -> None:
    # With lengths 2 and more, no padding can hide a symbol too few.
    symbols = np.arange(size, dtype=np.uint8) % 16
    lengths = np.full(16, 4, dtype=np.uint8)
    payload, _ = encoding.encode_segments(symbols, np.array([0, size]), lengths)
    for other in (size - 2, size - 16, size + 2, size + 16):
        assert agreed(payload, [other], lengths) is None


def test_padding_must_be_zero() -> None:
    symbols = np.array([1, 0, 1], dtype=np.uint8)
    lengths = np.array([1, 1], dtype=np.uint8)
    payload, _ = encoding.encode_segments(symbols, np.array([0, 3]), lengths)
    assert payload == bytes([1, 0b101])
    for bit in range(3, 8):
        assert agreed(bytes([1, 0b101 | 1 << bit]), [3], lengths) is None
    assert agreed(bytes([2, 0b101, 0]), [3], lengths) is None


def test_sizes_must_be_in_their_shortest_form() -> None:
    lengths = np.array([1, 1], dtype=np.uint8)
    assert agreed(bytes([0x81, 0x00, 0b101]), [3], lengths) is None
    assert agreed(bytes([0x80, 0x80, 0x80, 0x00]), [3], lengths) is None
    assert agreed(b"\xff" * 11, [3], lengths) is None
    assert agreed(b"", [3], lengths) is None


@settings(max_examples=300, deadline=None)
@given(
    payload=st.binary(max_size=400),
    size=st.sampled_from([0, 1, 3, 100, 4095, 4096, 4103]),
    used=st.integers(1, 64),
    seed=st.integers(0, 1000),
)
def test_random_bytes_are_refused_or_decode_alike(
    payload: bytes, size: int, used: int, seed: int
) -> None:
    counts = np.random.default_rng(seed).integers(0, 1000, size=used) ** 2 + 1
    lengths = codes.code_lengths(counts, 11)
    agreed(payload, [size, size], lengths)


@settings(max_examples=300, deadline=None)
@given(lengths=st.lists(st.integers(0, 17), max_size=40), payload=st.binary(max_size=40))
def test_random_code_lengths_are_refused_or_decode_alike(
    lengths: list[int], payload: bytes
) -> None:
    agreed(payload, [20], np.array(lengths, dtype=np.uint8))


@backends
@pytest.mark.parametrize(
    "change",
    [
        {"offsets": [-1]},
        {"offsets": [100]},
        {"offsets": [0, 0]},
        {"offsets": [1 << 62]},
        {"counts": [-3]},
        {"counts": [4]},
        {"counts": [2]},
        {"counts": [1 << 62]},
        {"offsets": [0] * 3, "counts": [1 << 62, 1 << 62, 3]},
        {"codebook": np.zeros(1, dtype=np.uint8)},
        {"codebook": np.zeros(2, dtype=np.uint16)},
        {"out": np.zeros((3, 1), dtype=np.uint8)},
        {"out": np.zeros(6, dtype=np.uint8)[::2]},
        {"out": np.frombuffer(bytes(3), dtype=np.uint8)},
    ],
)
def test_arguments_that_do_not_fit_are_refused(kernels: ModuleType, change: dict[str, Any]) -> None:
    arguments = {
        "payload": bytes([1, 0b101]),
        "offsets": [0],
        "counts": [3],
        "lengths": np.array([1, 1], dtype=np.uint8),
        "codebook": np.zeros(2, dtype=np.uint8),
        "out": np.zeros(3, dtype=np.uint8),
    }
    kernels.decode_dense(**arguments)
    with pytest.raises(ValueError, match=r"\w"):
        kernels.decode_dense(**(arguments | change))


SPARSE = {
    "payload": bytes([1, 0b011, 1, 0b010]),
    "gap_offsets": [0],
    "gap_counts": [3],
    "index_offsets": [2],
    "index_counts": [3],
    "gap_lengths": np.array([0, 1, 1, 0], dtype=np.uint8),
    "filler": 3,
    "index_lengths": np.array([1, 1], dtype=np.uint8),
    "codebook": np.array([7, 9], dtype=np.uint8),
    "span": 8,
}


def sparse_outcome(kernels: ModuleType, size: int, change: dict[str, Any]) -> bytes | None:
    out, whole = guarded(size)
    try:
        kernels.decode_sparse(**(SPARSE | change), out=out)
        result = out.tobytes()
    except ValueError:
        result = None
    assert (whole[:GUARD] == 0xA5).all()
    assert (whole[-GUARD:] == 0xA5).all()
    return result


@backends
def test_gaps_that_fill_their_block_are_accepted(kernels: ModuleType) -> None:
    assert sparse_outcome(kernels, 8, {}) == bytes([0, 0, 7, 0, 0, 9, 0, 7])


@backends
@pytest.mark.parametrize(
    "change",
    [
        {"span": 7},
        {"span": 0},
        {"span": 4},
        {"filler": 2},
        {"filler": 1},
        {"filler": 0},
        {"filler": 65536},
        {"gap_counts": [2]},
        {"gap_counts": [9]},
        {"gap_counts": [-1]},
        {"index_counts": [2]},
        {"index_counts": [4]},
        {"index_offsets": [0, 2], "index_counts": [0, 3]},
        {"gap_offsets": [5]},
        {"payload": bytes([1, 0b111, 1, 0b010])},
        {"payload": bytes([1, 0b011, 1, 0b1010])},
        {"codebook": np.array([7], dtype=np.uint8)},
    ],
)
def test_sparse_blocks_that_do_not_fit_are_refused(
    kernels: ModuleType, change: dict[str, Any]
) -> None:
    assert sparse_outcome(kernels, 8, change) is None


@backends
def test_a_gap_out_of_the_block_is_refused(kernels: ModuleType) -> None:
    assert sparse_outcome(kernels, 7, {}) is None
    assert sparse_outcome(kernels, 8, {"payload": bytes([1, 0b111, 1, 0b010])}) is None


@backends
def test_a_block_may_not_end_in_a_filler(kernels: ModuleType) -> None:
    lengths = np.array([0, 1, 1], dtype=np.uint8)
    change = {"gap_lengths": lengths, "filler": 2, "index_counts": [1]}
    accepted = bytes([1, 0b011, 1, 0b000])
    assert sparse_outcome(kernels, 8, change | {"payload": accepted}) == bytes([0] * 5 + [7, 0, 0])
    refused = bytes([1, 0b110, 1, 0b000])
    assert sparse_outcome(kernels, 8, change | {"payload": refused}) is None


@settings(max_examples=300, deadline=None)
@given(
    payload=st.binary(min_size=4, max_size=30),
    gaps=st.integers(0, 12),
    survivors=st.integers(0, 12),
    filler=st.integers(3, 5),
    size=st.integers(1, 8),
)
def test_random_sparse_blocks_are_refused_or_decode_alike(
    payload: bytes, gaps: int, survivors: int, filler: int, size: int
) -> None:
    change = {
        "payload": payload,
        "gap_counts": [gaps],
        "index_counts": [survivors],
        "gap_lengths": np.array([1, 2, 3, 3], dtype=np.uint8),
        "filler": filler,
    }
    outcomes = [sparse_outcome(kernels, size, change) for kernels in BACKENDS]
    assert all(other == outcomes[0] for other in outcomes)
