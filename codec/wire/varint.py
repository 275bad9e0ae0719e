"""Unsigned LEB128 integers and a bounds-checked reader for what a file declares."""

from __future__ import annotations

from ..errors import CorruptError, TruncatedError

MAX_BYTES = 10
_SHORT = [bytes([value]) for value in range(0x80)]


def encode_varint(value: int) -> bytes:
    """Encode 0 <= value < 2**64, seven bits a byte, lowest first."""
    if 0 <= value < 0x80:
        return _SHORT[value]
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Cursor:
    """Reads consecutive fields of a buffer and never past its end.

    Attributes
    ----------
    data : memoryview
        The buffer, in bytes.
    position : int
        Offset of the next field, in bytes.
    """

    __slots__ = ("data", "position")

    def __init__(self, data: memoryview, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self.data) - self.position

    @property
    def rest(self) -> memoryview:
        """The bytes not yet read."""
        return self.data[self.position :]

    def skip(self, size: int) -> None:
        """Move on by `size` bytes that are known to be there."""
        self.position += size

    def take(self, size: int, field: str) -> memoryview:
        """The next `size` bytes. Raises TruncatedError, naming `field`."""
        start, stop = self.position, self.position + size
        if stop > len(self.data):
            raise TruncatedError(f"{field}: {size} bytes declared, {self.remaining} left")
        self.position = stop
        return self.data[start:stop]

    def byte(self, field: str) -> int:
        """The next byte as an integer. Raises TruncatedError, naming `field`."""
        if self.position >= len(self.data):
            raise TruncatedError(f"{field}: 1 bytes declared, 0 left")
        self.position += 1
        return self.data[self.position - 1]

    def uint32(self, field: str) -> int:
        """The next four bytes as a little-endian integer."""
        return int.from_bytes(self.take(4, field), "little")

    def varint(self, field: str, *, low: int = 0, high: int = 2**64 - 1) -> int:
        """The next varint. Raises CorruptError unless it is minimal and low <= value <= high."""
        data, start = self.data, self.position
        value = 0
        for length, byte in enumerate(data[start : start + MAX_BYTES]):
            value |= (byte & 0x7F) << (7 * length)
            if byte < 0x80:
                break
        else:
            raise self._endless(field)
        if byte == 0 and length > 0:
            raise CorruptError(f"{field}: varint is longer than it needs to be")
        if not low <= value <= high:
            raise CorruptError(f"{field}: {value} is outside {low} to {high}")
        self.position = start + length + 1
        return value

    def _endless(self, field: str) -> CorruptError:
        if self.remaining < MAX_BYTES:
            return TruncatedError(f"{field}: 1 bytes declared, 0 left")
        return CorruptError(f"{field}: varint is longer than {MAX_BYTES} bytes")

    def finish(self, what: str) -> None:
        """Raise CorruptError if anything is left unread."""
        if self.remaining:
            raise CorruptError(f"{what}: {self.remaining} bytes too many")
