"""Payloads of mixed contexts of several tensors that are not as FORMAT.md says are refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import support_payloads

import dcz
from dcz.codec.decode import context_mixing_group
from dcz.codec.encode import context_mixing_group as mixed_group
from dcz.codec.errors import CorruptError
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.wire.arrays import MAX_MIXED_GROUP, Member
from dcz.codec.wire.coders import MIXING_GROUP

FLOATS = np.dtype(np.float32)
TWO = [Member(FLOATS, 12, (3, 4)), Member(FLOATS, 5, (5,))]
ONE = b"\x00\x00\x80\x3f"


def decode(payload: bytes, members: list[Member]) -> npt.NDArray[Any]:
    return support_payloads.decode(context_mixing_group.Decoder, payload, *members)


def small_payload() -> bytes:
    rng = np.random.default_rng(1)
    book = np.array([-0.1, 0, 0.1, 0.3], np.float32)
    tensors = [SharedTensor(rng.integers(0, 4, m.numel).astype(np.uint8), book, False) for m in TWO]
    tensors[1] = SharedTensor(tensors[1].indices, np.array([0.1, 0, 7, 9], np.float32), False)
    return bytes(mixed_group.encode(tensors, [member.shape for member in TWO]).payload)


def test_every_flipped_bit_is_refused_or_harmless() -> None:
    support_payloads.check_flipped_bits(context_mixing_group.Decoder, small_payload(), *TWO)


def test_prefixes_are_refused_or_decode_to_what_was_declared() -> None:
    payload = small_payload()
    for size in range(len(payload)):
        try:
            assert decode(payload[:size], TWO).size == 17
        except CorruptError:
            continue
    with pytest.raises(CorruptError, match="left over"):
        decode(payload + bytes(9), TWO)


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"", "0 left"),
        (b"\x07", "none of those"),
        (b"\x08" + ONE, "none of those"),
        (b"\x0f" + ONE, "none of those"),
        (b"\x21" + ONE, "none of those"),
        (b"\x81" + ONE, "none of those"),
        (b"\x01\x00\x00\x80\xbf", "half step"),
        (b"\x09\x00\x00", "half step"),
        (b"\x09\x00\x00\x00\x07", "half step"),
        (b"\x01" + ONE + b"\x02" + ONE, "several numbers of states"),
        (b"\x03" + ONE + b"\x04" + ONE, "several numbers of states"),
        (b"\x11\x0d\x01\x01" + ONE + b"\x07", "rows of 13"),
        (b"\x11\x04\x03\x01" + ONE + b"\x07", "divide"),
        (b"\x11\x00\x01\x01" + ONE + b"\x07", "row"),
        (b"\x00\x02" + ONE + ONE + b"\x02\x07", "index of zero"),
        (b"\x00\x00\x00\x07", "past its end"),
    ],
)
def test_fields_outside_their_range_are_refused(payload: bytes, cause: str) -> None:
    with pytest.raises(CorruptError, match=cause):
        decode(payload, TWO)


def test_steps_of_integers_are_refused() -> None:
    with pytest.raises(CorruptError, match="steps of uint8"):
        decode(b"\x01" + ONE, [Member(np.dtype(np.uint8), 3, (3,))])


@pytest.mark.parametrize("numel", [0, MAX_MIXED_GROUP + 1, 2**62])
def test_empty_and_large_tensors_are_refused(numel: int) -> None:
    for members in ([Member(FLOATS, numel, (numel,))], [*TWO, Member(FLOATS, numel, (numel,))]):
        with pytest.raises(CorruptError, match="empty, or all too large"):
            context_mixing_group.Decoder(memoryview(b"\x01" + ONE + b"\x07\x07"), members)


def test_a_digest_of_half_the_length_is_compared(tmp_path: Path, dczformat: ModuleType) -> None:
    tensors = {"a": np.tile(np.float32([0, 0.5]), (4, 5)), "b": np.float32([0.5, 0, 1])}
    path = tmp_path / "x.dcz"
    dcz.save_file(tensors, path, dcz.Recipe(preset="max"))
    file = dczformat.parse(path.read_bytes())
    assert [frame.coder for frame in file.frames] == [MIXING_GROUP]
    for number in range(2):
        for bit in (0, 31):
            file.tensors[number].digest ^= 1 << bit
            path.write_bytes(dczformat.build(file))
            with dcz.open(path) as archive, pytest.raises(dcz.ChecksumError, match="digest"):
                archive.verify("ab"[number])
            file.tensors[number].digest ^= 1 << bit
