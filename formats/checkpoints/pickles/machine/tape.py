"""The bytes of a pickle, read from front to back, and the opcodes that only push a value."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from .....codec.errors import InputError

_MAX_LINE = 1 << 20
_MAX_INTEGER = 1 << 10
# Longer byte strings, usually arrays, stay where they are in the file.
_COPIED_BELOW = 1 << 12
# What Python 2 wrote of bytes that are not printed as they are.
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPES = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class Tape:
    """A pickle's bytes, and how far they were read.

    Parameters
    ----------
    data : memoryview
        Of bytes; more may follow after the pickle.
    at : int
        Where the pickle starts.
    """

    def __init__(self, data: memoryview, at: int = 0) -> None:
        self._data = data
        self._size = len(data)
        self.at = at

    def take(self, size: int) -> memoryview:
        """Take the next bytes off; InputError if there are not so many."""
        start, self.at = self.at, self.at + size
        if self.at > self._size:
            raise InputError(f"its pickle is cut short: {size} bytes are due at {start}")
        return self._data[start : self.at]

    def byte(self) -> int:
        """Take the next byte off, usually an opcode."""
        at = self.at
        if at >= self._size:
            raise InputError(f"its pickle is cut short: it has no end by byte {at}")
        self.at = at + 1
        return self._data[at]

    def unsigned(self, size: int) -> int:
        """Take an unsigned integer of so many bytes off."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        """Take the rest of the line off, and give it without its end."""
        size = 256
        while True:
            piece = bytes(self._data[self.at : self.at + size])
            end = piece.find(b"\n")
            if end >= 0:
                self.at += end + 1
                return piece[:end]
            if len(piece) < size or size > _MAX_LINE:
                raise InputError(f"its pickle has a line without an end at byte {self.at}")
            size *= 4

    def text(self) -> str:
        """Take a line of UTF-8 off."""
        return self.line().decode()


def _integer_line(tape: Tape) -> int:
    line = tape.line()
    return line == b"01" if line in (b"00", b"01") else int(line)


def _long_line(tape: Tape) -> int:
    return int(tape.line().removesuffix(b"L"))


def _long(tape: Tape, width: int) -> int:
    size = tape.unsigned(width)
    if size > _MAX_INTEGER:
        raise InputError(f"its pickle has an integer of {size} bytes")
    return int.from_bytes(tape.take(size), "little", signed=True)


def _double(tape: Tape) -> float:
    return float(struct.unpack(">d", tape.take(8))[0])


def _string_line(tape: Tape) -> str | bytes:
    line = tape.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise InputError("its pickle has a string without quotes")
    return _either(_ESCAPE.sub(_unescaped, line[1:-1]))


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if len(code) == 3:
        return bytes.fromhex(code[1:].decode())
    if code not in _ESCAPES:
        raise InputError(f"its pickle has an unknown escape {code!r} in a string")
    return _ESCAPES[code]


def _either(raw: bytes) -> str | bytes:
    """Python 2's strings are text or bytes, which it did not tell apart."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _string(tape: Tape, size: int) -> str | bytes:
    return _either(bytes(tape.take(size)))


def _unicode(tape: Tape, size: int) -> str:
    return str(tape.take(size), "utf-8", "surrogatepass")


def _bytes(tape: Tape, size: int) -> bytes | memoryview:
    raw = tape.take(size)
    return bytes(raw) if len(raw) < _COPIED_BELOW else raw


def _byte_array(tape: Tape) -> bytearray | memoryview:
    raw = tape.take(tape.unsigned(8))
    return bytearray(raw) if len(raw) < _COPIED_BELOW else raw


# Opcode to what it pushes; the names are those of Python's module pickletools.
LITERALS: dict[int, Callable[[Tape], object]] = {
    ord("N"): lambda tape: None,
    0x88: lambda tape: True,
    0x89: lambda tape: False,
    ord(")"): lambda tape: (),
    ord("I"): _integer_line,
    ord("L"): _long_line,
    ord("J"): lambda tape: int.from_bytes(tape.take(4), "little", signed=True),
    ord("K"): Tape.byte,
    ord("M"): lambda tape: tape.unsigned(2),
    0x8A: lambda tape: _long(tape, 1),
    0x8B: lambda tape: _long(tape, 4),
    ord("F"): lambda tape: float(tape.line()),
    ord("G"): _double,
    ord("S"): _string_line,
    ord("T"): lambda tape: _string(tape, tape.unsigned(4)),
    ord("U"): lambda tape: _string(tape, tape.byte()),
    ord("V"): lambda tape: tape.line().decode("raw_unicode_escape"),
    ord("X"): lambda tape: _unicode(tape, tape.unsigned(4)),
    0x8C: lambda tape: _unicode(tape, tape.byte()),
    0x8D: lambda tape: _unicode(tape, tape.unsigned(8)),
    ord("B"): lambda tape: _bytes(tape, tape.unsigned(4)),
    ord("C"): lambda tape: _bytes(tape, tape.byte()),
    0x8E: lambda tape: _bytes(tape, tape.unsigned(8)),
    0x96: _byte_array,
}
