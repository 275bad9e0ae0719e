"""Flipped bits, which no checksum may miss."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from corpus import Content, golden, larger, write_and_load
from workers import Failure, Tally, kind_of, run

import dcz
from dcz.formats.container.container import HEADER, Container


def flips_of_golden_files(folder: Path, least: int) -> Tally:
    """Every bit of every golden file of up to 4 KB; `least` bits in the short run.

    One in eight goes through the disk, and each of its tensors is looked at.
    """
    places = [(name, bit) for name, data in golden().items() for bit in range(8 * len(data))]
    step = max(len(places) // least, 1) if least else 1
    chosen = places[::step]
    path = folder / "flipped.dcz"
    good = {name: write_and_load(path, data) for name, data in golden().items()}

    open_files = {name: _OpenFile(data) for name, data in golden().items()}

    def case(number: int) -> str:
        name, bit = chosen[number]
        if number % 8 != bit // 8 % 8:  # another bit of each byte in turn
            return open_files[name].outcome_of(bit)
        path.write_bytes(_flipped(golden()[name], bit))
        return _each_refused_or_right(path, good[name])

    return run(case, range(len(chosen)))


def flips_of_larger_files(folder: Path, cases: int) -> Tally:
    """Random bits of larger files: index or frame are refused before anything is decoded.

    Bits are flipped in memory under an open container, as damage under a mapped file would be;
    every hundredth file goes through the disk, and each of its tensors is looked at.
    """
    files = list(larger(folder).values())
    path = folder / "flipped.dcz"
    good = [write_and_load(path, data) for data in files]
    open_files = [_OpenFile(data) for data in files]

    def case(number: int) -> str:
        generator = random.Random(number)
        which = generator.randrange(len(files))
        bit = generator.randrange(8 * len(files[which]))
        if number % 100:
            return open_files[which].outcome_of(bit)
        path.write_bytes(_flipped(files[which], bit))
        return _each_refused_or_right(path, good[which])

    return run(case, range(cases))


class _OpenFile:
    """A file in memory that can be changed under its open container."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        self._container = Container(memoryview(self._data), dcz.DecodeLimits())
        lengths = [frame.length for frame in self._container.index.frames]
        self._ends = np.cumsum([len(HEADER), *lengths])

    def outcome_of(self, bit: int) -> str:
        """Flip a bit, read what it is in, and flip it back."""
        at = bit // 8
        self._data[at] ^= 1 << bit % 8
        try:
            frame = int(np.searchsorted(self._ends, at, "right")) - 1
            if 0 <= frame < len(self._ends) - 1:
                self._container.open_frame(frame)
            else:
                Container(memoryview(self._data), dcz.DecodeLimits())
        except dcz.DczError as error:
            return type(error).__name__
        finally:
            self._data[at] ^= 1 << bit % 8
        raise Failure("a flipped bit went unnoticed")


def _flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


def _each_refused_or_right(path: Path, good: Content) -> str:
    """Read each tensor by itself: all are right but those that are refused, and some are."""
    outcome = ""
    try:
        with dcz.open(path, jobs=1) as archive:
            for name in archive:
                try:
                    array = archive[name]
                except dcz.DczError as error:
                    outcome = kind_of(error, path)
                    continue
                if good.get(name) != (array.dtype.name, array.shape, array.tobytes()):
                    raise Failure(f"wrong tensor {name!r}")
    except dcz.DczError as error:
        outcome = kind_of(error, path)
    if not outcome:
        raise Failure("a flipped bit went unnoticed")
    return outcome
