"""Payloads of mixed contexts that are not as FORMAT.md says: refused, or of the size declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import support_payloads
from support_moments import factors_of

from dcz.codec.decode import context_mixing
from dcz.codec.encode import context_mixing as mixed
from dcz.codec.errors import CorruptError, TruncatedError
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.share.trellis import feedback, per_row, quantize
from dcz.codec.share.trellis.feedback import Compensation
from dcz.codec.wire.arrays import Member

FLOATS = np.dtype(np.float32)
BYTES = np.dtype(np.uint8)
TWO_VALUES = b"\x00\x02\x05\x07\x00"  # levels 5 and 7, of which 5 is level 0
LINE = b"\x01\x01\x01"
# Two classes of rows of eight elements, by a code of two codes of one bit; 0, 1 and 0 in a byte.
TWO_CLASSES = b"\x0a\x02\x08\x02\x00"
ROWS = TWO_CLASSES + b"\x01\x02"
ONE_STEP = b"\x00\x00\x80\x3f"


def decode(payload: bytes, numel: int, dtype: np.dtype[Any] = BYTES) -> npt.NDArray[Any]:
    return support_payloads.decode(context_mixing.Decoder, payload, Member(dtype, numel))


def small_payloads() -> list[tuple[bytes, Member]]:
    rng = np.random.default_rng(1)
    values = rng.laplace(size=(4, 2, 3, 3)).astype(np.float32)
    shared = quantize.quantize(values.reshape(-1), values.shape, 0.4, 8)
    rows = per_row.quantize(
        values.reshape(-1), values.shape, (0.3, 0.7), np.array([0, 1, 1, 0], np.uint8), 64
    )
    columns = feedback.quantize(
        rng.laplace(size=160), (32, 5), 0.4, Compensation(4, factors_of(rng, 5)), FLOATS
    )
    stepped = feedback.quantize_by_rows(
        rng.laplace(size=256),
        (32, 8),
        (0.4, 1.0),
        (np.arange(32) % 2).astype(np.uint8),
        Compensation(8, factors_of(rng, 8)),
        FLOATS,
    )
    few = SharedTensor(rng.integers(0, 3, 50).astype(np.uint8), np.arange(3.0), False)
    return [
        (bytes(mixed.encode(shared, values.shape).payload), shared.member),
        (bytes(mixed.encode(few, (5, 10)).payload), few.member),
        (bytes(mixed.encode(rows, values.shape).payload), rows.member),
        (bytes(mixed.encode(columns, (32, 5)).payload), columns.member),
        (bytes(mixed.encode(stepped, (32, 8)).payload), stepped.member),
    ]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_every_flipped_bit_is_refused_or_harmless(number: int) -> None:
    payload, member = small_payloads()[number]
    support_payloads.check_flipped_bits(context_mixing.Decoder, payload, member)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_every_prefix_is_refused(number: int) -> None:
    payload, member = small_payloads()[number]
    support_payloads.check_prefixes(context_mixing.Decoder, payload, member)


def test_noise_is_refused_or_decodes_to_what_was_declared() -> None:
    rng = np.random.default_rng(2)
    for kind in (0, 2, 6):
        head = TWO_VALUES if kind == 0 else bytes([kind]) + np.float32(0.5).tobytes()
        dtype = BYTES if kind == 0 else FLOATS
        for _ in range(20):
            noise = rng.integers(0, 256, 40).astype(np.uint8).tobytes()
            try:
                out = decode(head + b"\x0c\x06\x03\x28" + noise, 77, dtype)
            except CorruptError:
                continue
            assert out.size == 77


def test_the_smallest_payload_decodes() -> None:
    """A chunk of no bytes reads zeros, and a value below the bound is a bit of 1."""
    small = quantize.quantize(np.zeros(3, np.float32), (3,), 1.0, 4)
    frame = mixed.encode(small, (3,))
    assert decode(bytes(frame.payload), 3, FLOATS).tolist() == [0, 0, 0]
    negative = decode(b"\x02\x00\x00\x80\x3f" + LINE + b"\x00", 1, FLOATS)
    assert negative[0] < -(2**17)  # everything is 1: the greatest magnitude, and negative


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"\x01", "reconstruction"),
        (b"\x07", "reconstruction"),
        (b"\xff", "reconstruction"),
        (b"\x02\x00\x00\x80\x3f", "steps of uint8"),
        (b"\x00\x81\x80\x04", "codebook levels"),
        (b"\x00\x02\x05\x07\x02", "index of zero"),
        (b"\x00\x00\x01", "index of zero"),
        (TWO_VALUES + b"\x00", "row"),
        (TWO_VALUES + b"\x81\x80\x10", "row"),
        (TWO_VALUES + b"\x04\x05", "kernel"),
        (TWO_VALUES + b"\x04\x00", "kernel"),
        (TWO_VALUES + b"\x04\x04\x05", "width"),
        (TWO_VALUES + b"\x04\x03\x01", "divide"),
        (TWO_VALUES + b"\x04\x04\x03", "divide"),
        (TWO_VALUES + LINE + b"\xff\x7f", "chunk size"),
        (TWO_VALUES + LINE + b"\x00", "too many"),
        (b"\x00\x00\x00" + LINE + b"\x09", "past its end"),
    ],
)
def test_fields_outside_their_range_are_refused(payload: bytes, cause: str) -> None:
    with pytest.raises(CorruptError, match=cause):
        decode(payload + bytes(9), 64)


@pytest.mark.parametrize("step", ["00000000", "000080bf", "0000807f", "0000c07f"])
def test_half_steps_must_be_positive_and_finite(step: str) -> None:
    with pytest.raises(CorruptError, match="half step"):
        decode(b"\x03" + bytes.fromhex(step) + LINE + b"\x00", 4, FLOATS)


def test_the_smallest_payload_of_classes_of_rows_decodes() -> None:
    steps = np.array([0.5, 2.0], np.float32)
    everything_1 = decode(ROWS + steps.tobytes() + LINE + b"\x00", 24, FLOATS)
    units = everything_1 / np.repeat(steps[[0, 1, 0]], 8)
    assert np.all(np.abs(units) >= 2**17)


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"\x08" + ONE_STEP, "reconstruction"),
        (b"\x0f" + ONE_STEP, "reconstruction"),
        (b"\x10" + ONE_STEP, "reconstruction"),
        (b"\x17" + ONE_STEP, "reconstruction"),
        (b"\x18" + ONE_STEP, "reconstruction"),
        (b"\x1f" + ONE_STEP, "reconstruction"),
        (b"\x20" + ONE_STEP, "reconstruction"),
        (b"\x1a\x01" + ONE_STEP + LINE, "one class"),
        (
            b"\x1a" + TWO_CLASSES[1:] + b"\x01\x02" + 2 * ONE_STEP + b"\x05\x01\x01\x00",
            "columns of 5",
        ),
        (b"\x22" + ONE_STEP, "reconstruction"),
        (b"\x12" + ONE_STEP + b"\x05\x01\x01\x00", "columns of 5 in 24"),
        (b"\x0a\x00", "classes"),
        (b"\x0a\x01" + ONE_STEP + LINE, "one class"),
        (b"\x0a\x11", "classes"),
        (b"\x0a\x02\x07", "run length"),
        (b"\x0a\x02\x81\x80\x10", "run length"),
        (b"\x0a\x02\x08\x01", "class alphabet"),
        (b"\x0a\x03\x08\x02\x00", "class alphabet"),
        (TWO_CLASSES + b"\x01\x00" + 2 * ONE_STEP, "one has no run"),
        (TWO_CLASSES + b"\x01\x07" + 2 * ONE_STEP, "one has no run"),
        (TWO_CLASSES + b"\x01\x0a" + 2 * ONE_STEP, "class"),
        (ROWS + ONE_STEP + b"\x00\x00\x80\x7f", "half step"),
        (ROWS + ONE_STEP + b"\x00\x00\x80\xbf", "half step"),
        (ROWS + b"\x00\x00\x00\x00" + ONE_STEP, "half step"),
        (ROWS + ONE_STEP + b"\x00\x00\xc0\x7f", "half step"),
        (ROWS + 2 * ONE_STEP + b"\x00", "row"),
    ],
)
def test_classes_of_rows_outside_their_range_are_refused(payload: bytes, cause: str) -> None:
    with pytest.raises(CorruptError, match=cause):
        decode(payload + bytes(9), 24, FLOATS)


def test_classes_of_rows_are_for_floats() -> None:
    with pytest.raises(CorruptError, match="steps of uint8"):
        decode(ROWS + 2 * ONE_STEP + LINE + b"\x00", 24)


def test_more_rows_than_bytes_could_hold_are_refused_before_anything_is_decoded() -> None:
    for numel in (2**21, 2**62):
        with pytest.raises(TruncatedError, match="runs"):
            context_mixing.Decoder(memoryview(ROWS + 2 * ONE_STEP + LINE), [Member(FLOATS, numel)])


def test_bytes_left_over_in_a_chunk_are_refused() -> None:
    with pytest.raises(CorruptError, match="left over"):
        decode(TWO_VALUES + LINE + b"\x09" + bytes(range(255, 246, -1)), 1)


def test_several_members_or_none_are_refused() -> None:
    payload = memoryview(TWO_VALUES + LINE + b"\x00")
    for members in ([Member(BYTES, 2), Member(BYTES, 2)], [Member(BYTES, 0)]):
        with pytest.raises(CorruptError, match="one tensor"):
            context_mixing.Decoder(payload, members)


def test_more_elements_than_chunks_are_refused_before_anything_is_decoded() -> None:
    for numel in (2**23, 2**62):
        with pytest.raises(TruncatedError):
            context_mixing.Decoder(memoryview(TWO_VALUES + LINE + b"\x00"), [Member(BYTES, numel)])
