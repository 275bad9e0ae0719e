"""What tests of the coders share: decoding a payload, and damaging it everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from dcz.codec import kernels
from dcz.codec.decode import registry
from dcz.codec.decode.frame import FrameDecoder
from dcz.codec.encode import context_mixing
from dcz.codec.encode.frame import Frame
from dcz.codec.errors import CorruptError
from dcz.codec.report.describe import describe
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.wire.arrays import Member
from dcz.formats.container.dtypes import by_numpy

Array = npt.NDArray[Any]
Open = Callable[[memoryview, Sequence[Member]], FrameDecoder]
# Bytes from one flip to the next: without C each decoding takes a while.
STEP = 1 if kernels.BACKEND == "c" else 7


def decode(open_payload: Open, payload: bytes, *members: Member) -> Array:
    """All elements of the members of one dtype, whose description is made too."""
    decoder = open_payload(memoryview(payload), members)
    out = np.empty(sum(member.numel for member in members), members[0].dtype)
    decoder.decode(0, out.size, out)
    describe(decoder)
    return out


def decoded(frame: Frame, member: Member) -> Array:
    """All elements of a frame, whose description must be that of its encoder."""
    decoder = registry.open_frame(frame.coder, memoryview(frame.payload), [member])
    out = np.empty(member.numel, member.dtype)
    decoder.decode(0, out.size, out)
    assert describe(decoder) == frame.description
    assert sum(frame.description.parts.values()) == len(frame.payload)
    return out


def check_by_both_decoders(
    shared: SharedTensor, shape: tuple[int, ...], dczformat: ModuleType
) -> None:
    """A tensor coded by mixed contexts comes back, by the decoder made from FORMAT.md too."""
    frame = context_mixing.encode(shared, shape)
    wanted = shared.codebook[shared.indices].tobytes()
    assert decoded(frame, shared.member).tobytes() == wanted
    dtype = shared.codebook.dtype
    if dtype != ml_dtypes.bfloat16:
        code = by_numpy(dtype).code
        file = dczformat.one(6, frame.payload, list(shape), code, dczformat.digest(wanted))
        ((_, _, raw),) = dczformat.decode(file).values()
        assert raw == wanted


def check_flipped_bits(open_payload: Open, payload: bytes, *members: Member) -> None:
    """Every flipped bit is refused, or decodes to what was declared."""
    numel = sum(member.numel for member in members)
    for at in range(0, len(payload), STEP):
        for bit in range(8):
            flipped = payload[:at] + bytes([payload[at] ^ 1 << bit]) + payload[at + 1 :]
            try:
                out = decode(open_payload, flipped, *members)
            except CorruptError:
                continue
            assert out.size == numel


def check_prefixes(open_payload: Open, payload: bytes, member: Member) -> None:
    """Every prefix is refused, and so is a byte too many."""
    for size in range(len(payload)):
        with pytest.raises(CorruptError):
            decode(open_payload, payload[:size], member)
    with pytest.raises(CorruptError, match="too many"):
        decode(open_payload, payload + b"\0", member)
