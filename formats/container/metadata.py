"""The user's metadata at the end of an index: a JSON object of strings, compressed if it pays."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping

import zstandard

from ...codec.errors import CorruptError, LimitError
from ...codec.wire.varint import Cursor, encode_varint
from .limits import Budget, DecodeLimits

_PAIR_MEMORY = 128
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def encode_metadata(metadata: Mapping[str, str]) -> bytes:
    """Write metadata; no metadata are one byte."""
    if not metadata:
        return encode_varint(0)
    raw = json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":")).encode()
    packed = zstandard.compress(raw, 19)
    stored = min(raw, packed, key=len)
    return encode_varint(len(raw)) + encode_varint(len(stored)) + stored


def decode_metadata(cursor: Cursor, limits: DecodeLimits, budget: Budget) -> dict[str, str]:
    """Read and check metadata.

    Raises
    ------
    CorruptError
        If they are not a JSON object of strings.
    LimitError
        If they take more than `limits` or the index's `budget` of memory allow.
    """
    size = cursor.varint("metadata size")
    if size == 0:
        return {}
    if size > limits.metadata_bytes:
        raise LimitError(f"metadata of {size} bytes is over the limit of {limits.metadata_bytes}")
    stored = bytes(cursor.take(cursor.varint("stored metadata", low=1, high=size), "metadata"))
    budget.spend(size)
    raw = stored if len(stored) == size else _decompress(stored, size)
    budget.spend(size if raw.isascii() else 4 * size)  # as text
    try:
        return _parse(raw.decode(), budget)
    except ValueError:
        raise CorruptError("metadata: not a JSON object of strings with unique names") from None


def _decompress(stored: bytes, size: int) -> bytes:
    try:
        if zstandard.frame_content_size(stored) != size:
            raise CorruptError(f"metadata: zstandard frame is not of {size} bytes")
        return zstandard.ZstdDecompressor().decompress(
            stored, max_output_size=size, read_across_frames=False, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptError(f"metadata: zstandard: {error}") from None


def _parse(text: str, budget: Budget) -> dict[str, str]:
    """Parse a JSON object of strings; ValueError if it is none.

    Nothing is made of what does not belong there, lists in lists or a name again and again: little
    compressed text can hold very much of it.
    """
    pairs: dict[str, str] = {}
    at = _after("{", text, 0)
    closing = text.startswith("}", at)
    while not closing:
        name, at = _string(text, at)
        value, at = _string(text, _after(":", text, at))
        if name in pairs:
            raise ValueError
        budget.spend(_PAIR_MEMORY + sys.getsizeof(name) + sys.getsizeof(value))
        pairs[name] = value
        closing = text.startswith("}", at)
        if not closing:
            at = _after(",", text, at)
    if _after("}", text, at) != len(text):
        raise ValueError
    return pairs


def _string(text: str, at: int) -> tuple[str, int]:
    """The string at a position, and where what comes after it begins."""
    if not text.startswith('"', at):
        raise ValueError
    value, end = _DECODER.raw_decode(text, at)
    value.encode()  # half of a surrogate pair is no text
    return value, _skip_space(text, end)


def _after(mark: str, text: str, at: int) -> int:
    """Where what follows a mark begins, which must stand at a position or after space."""
    at = _skip_space(text, at)
    if not text.startswith(mark, at):
        raise ValueError
    return _skip_space(text, at + 1)


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
