"""Damages bytes at random; the tests and the campaign in fuzz/ make their hostile files with it."""

from __future__ import annotations

import random
from collections.abc import Callable

from support_format import varint

EXTREMES = [0, 1, 127, 128, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32]
EXTREMES += [2**62, 2**63 - 1, 2**63, 2**64 - 1]

Mutate = Callable[[random.Random, bytes], bytes]


def flip(generator: random.Random, data: bytes) -> bytes:
    """One bit."""
    at = generator.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


def overwrite(generator: random.Random, data: bytes) -> bytes:
    """One byte, with one of the telling values or any."""
    at = generator.randrange(len(data))
    value = generator.choice([0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)])
    return data[:at] + bytes([value]) + data[at + 1 :]


def insert(generator: random.Random, data: bytes) -> bytes:
    """Up to eight bytes more."""
    at = generator.randrange(len(data) + 1)
    return data[:at] + generator.randbytes(generator.randrange(1, 9)) + data[at:]


def delete(generator: random.Random, data: bytes) -> bytes:
    """Up to eight bytes fewer."""
    at = generator.randrange(len(data))
    return data[:at] + data[at + generator.randrange(1, 9) :]


def swap(generator: random.Random, data: bytes) -> bytes:
    """Two neighbouring parts exchanged."""
    a, b, c = sorted(generator.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeat(generator: random.Random, data: bytes) -> bytes:
    """A part twice."""
    a, b = sorted(generator.randrange(len(data) + 1) for _ in range(2))
    return data[:b] + data[a : min(b, a + 4096)] + data[b:]


def extreme(generator: random.Random, data: bytes) -> bytes:
    """A byte, which may be a varint, replaced by an extreme one."""
    at = generator.randrange(len(data))
    value = varint(generator.choice(EXTREMES))
    return data[:at] + value + data[at + 1 :]


BYTES: list[Mutate] = [flip, flip, overwrite, overwrite, insert, delete, swap, repeat, extreme]


def mutate(generator: random.Random, data: bytes) -> bytes:
    """Any of the above; nothing becomes something."""
    if not data:
        return generator.randbytes(generator.randrange(1, 9))
    return generator.choice(BYTES)(generator, data)
