"""Payloads of classes that are not as FORMAT.md says: refused, or decoded to what was declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import support_payloads

from dcz.codec.decode import row_classes
from dcz.codec.encode import row_classes as classes
from dcz.codec.errors import CorruptError, TruncatedError
from dcz.codec.report.describe import describe
from dcz.codec.share import uniform
from dcz.codec.wire import code_table
from dcz.codec.wire import row_classes as runs
from dcz.codec.wire.arrays import Member

FLOATS = np.dtype(np.float32)
BYTES = np.dtype(np.uint8)
VALUES = b"\x00\x02\x05\x07"  # two levels, 5 and 7
ONE_CLASS = VALUES + b"\x01"
TWO_CODES = b"\x02\x00"  # alphabet 2, both of length 1


def decode(payload: bytes, numel: int, dtype: np.dtype[Any] = BYTES) -> npt.NDArray[Any]:
    return support_payloads.decode(row_classes.Decoder, payload, Member(dtype, numel))


def small_payloads() -> list[tuple[bytes, Member]]:
    rng = np.random.default_rng(1)
    values = rng.laplace(size=(12, 33)).astype(np.float32) * np.repeat([0.1, 2], 6)[:, None]
    shared = uniform.quantize(values.reshape(-1), values.shape, 0.5)
    split = runs.Runs(33, np.repeat([0, 1], 6).astype(np.uint8))
    return [
        (classes.draft(shared, values.shape).encode().payload, shared.member),
        (classes.draft_runs(shared, split).encode().payload, shared.member),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_every_flipped_bit_is_refused_or_harmless(number: int) -> None:
    payload, member = small_payloads()[number]
    good = decode(payload, member.numel, member.dtype)
    assert good.size == member.numel
    support_payloads.check_flipped_bits(row_classes.Decoder, payload, member)


@pytest.mark.parametrize("number", [0, 1])
def test_every_prefix_is_refused(number: int) -> None:
    payload, member = small_payloads()[number]
    support_payloads.check_prefixes(row_classes.Decoder, payload, member)


def test_the_smallest_payload_decodes() -> None:
    payload = ONE_CLASS + b"\x00\x00\x02" + TWO_CODES + b"\x01\x06"
    assert decode(payload, 4).tolist() == [5, 7, 7, 5]


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"\x02", "codebook kind"),
        (b"\x00\x00", "codebook levels"),
        (b"\x01\x00\x00\x80\x3f\x00\x01\x00", "grid of uint8"),
        (VALUES + b"\x00", "classes"),
        (VALUES + b"\x11", "classes"),
        (VALUES + b"\x02\x07", "run length"),
        (VALUES + b"\x02\x20\x01", "class alphabet"),
        (VALUES + b"\x02\x20" + TWO_CODES + b"\x01\x00", "one has no run"),
        (ONE_CLASS + b"\x04", "table flags"),
        (ONE_CLASS + b"\x00\x02", "first index"),
        (ONE_CLASS + b"\x00\x01\x02", "span"),
        (ONE_CLASS + b"\x02\x00\x02\x00", "indices in use"),
        (ONE_CLASS + b"\x02\x00\x02\x05", "indices in use"),
        (ONE_CLASS + b"\x01\x00\x02\x00", "pairs in use"),
        (ONE_CLASS + b"\x01\x00\x02\x10", "pairs in use"),
        (ONE_CLASS + b"\x01\x00\x02\x03\x01", "index alphabet"),
        (ONE_CLASS + b"\x00\x00\x02\x01", "index alphabet"),
    ],
)
def test_fields_outside_their_range_are_refused(payload: bytes, cause: str) -> None:
    with pytest.raises(CorruptError, match=cause):
        decode(payload + bytes(9), 64)


@pytest.mark.parametrize("step", ["00000000", "000080bf", "0000807f", "0000c07f"])
def test_steps_must_be_positive_and_finite(step: str) -> None:
    payload = b"\x01" + bytes.fromhex(step) + b"\x00\x01\x00\x01\x00\x00\x01\x01"
    with pytest.raises(CorruptError, match="grid step"):
        decode(payload, 4, FLOATS)


@pytest.mark.parametrize(
    ("rest", "cause"),
    [(b"\x81\x80\x08\x01\x00", "lowest"), (b"\x00\x00", "levels"), (b"\x00\x01\x02", "odd")],
)
def test_grids_outside_their_range_are_refused(rest: bytes, cause: str) -> None:
    with pytest.raises(CorruptError, match=cause):
        decode(b"\x01\x00\x00\x80\x3f" + rest + bytes(9), 4, FLOATS)


def test_pairs_of_wide_elements_and_of_many_are_refused() -> None:
    wide = b"\x00\x02" + bytes(16) + b"\x01\x01\x00\x02"
    with pytest.raises(CorruptError, match="pairs are of up to 128 values of up to 4 bytes"):
        decode(wide + bytes(9), 4, np.dtype(np.float64))
    many = b"\x00\x81\x01" + bytes(129) + b"\x01\x01\x00\x81\x01"
    with pytest.raises(CorruptError, match="pairs are of up to 128 values"):
        decode(many + bytes(3000), 4)


@pytest.mark.parametrize(("lengths", "value"), [([1, 0], 5), ([0, 1], 7)])
def test_a_code_of_which_one_symbol_is_in_use_takes_no_bits(lengths: list[int], value: int) -> None:
    table = code_table.encode_table(np.array(lengths, np.uint8))
    payload = ONE_CLASS + b"\x00\x00\x02" + table
    assert decode(payload, 4).tolist() == [value] * 4
    with pytest.raises(CorruptError):
        decode(payload + b"\x00", 4)


def test_what_fills_the_last_pair_means_nothing() -> None:
    # Pairs (5, 5) and (7, 7), of which three elements take two: 5 5 7 (7).
    payload = ONE_CLASS + b"\x01\x00\x02\x09" + TWO_CODES + b"\x01\x02"
    decoder = row_classes.Decoder(memoryview(payload), [Member(BYTES, 3)])
    assert decode(payload, 3).tolist() == [5, 5, 7]
    (stream,) = describe(decoder).streams
    assert stream.symbols == 3
    assert describe(decoder).nonzero == (3,)
    assert stream.entropy_bits == pytest.approx(3 * np.log2(3) - 2)


def test_several_members_or_none_are_refused() -> None:
    payload = memoryview(ONE_CLASS + b"\x00\x00\x02" + TWO_CODES + b"\x01\x06")
    for members in ([Member(BYTES, 2), Member(BYTES, 2)], [Member(BYTES, 0)]):
        with pytest.raises(CorruptError, match="one tensor"):
            row_classes.Decoder(payload, members)


def test_a_cut_segment_is_refused_before_decoding() -> None:
    payload = ONE_CLASS + b"\x00\x00\x02" + TWO_CODES + b"\x02\x06"
    with pytest.raises(TruncatedError):
        row_classes.Decoder(memoryview(payload), [Member(BYTES, 4)])
