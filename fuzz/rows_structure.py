"""Cut and added bytes, sections in another order, integers at their extremes."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus import content, format_page, golden, larger, write_and_load
from support_mutations import EXTREMES  # type: ignore[import-not-found]
from workers import Failure, Tally, kind_of, run

import dcz


def cut_and_added(folder: Path, step: int) -> Tally:
    """Every prefix (every `step`-th of larger files), and 1 to 64 bytes appended."""
    path = folder / "cut.dcz"
    tally = Tally()
    for data in golden().values():
        _refuse_all(path, (data[:size] for size in range(0, len(data), max(step // 50, 1))), tally)
        tails = (byte * count for byte in (b"\0", b"\xff", b"Z", b"\x1a") for count in range(1, 65))
        _refuse_all(path, (data + tail for tail in tails), tally)
    for data in larger(folder).values():
        _refuse_all(path, (data[:size] for size in range(0, len(data), step)), tally)
    return tally


def _refuse_all(path: Path, files: Iterator[bytes], tally: Tally) -> None:
    listed = list(files)

    def case(number: int) -> str:
        path.write_bytes(listed[number])
        try:
            dcz.open(path, jobs=1)
        except dcz.CorruptError as error:
            return kind_of(error, path)
        raise Failure("was opened")

    tally.merge(run(case, range(len(listed))))


def sections(folder: Path, cases: int) -> Tally:
    """Frames, entries and parts swapped, doubled, dropped and overlapped, checksums not forged."""
    files = [data for data in golden().values() if len(data) > 100]
    path = folder / "sections.dcz"
    good = [write_and_load(path, data) for data in files]

    def case(number: int) -> str:
        generator = random.Random(number)
        which = generator.randrange(len(files))
        data = _rearranged(generator, files[which])
        path.write_bytes(data)
        try:
            found = content(path)
        except dcz.DczError as error:
            return kind_of(error, path)
        if data != files[which] or found != good[which]:
            raise Failure("a rearranged file was read")
        return "unchanged"

    return run(case, range(cases))


def _rearranged(generator: random.Random, data: bytes) -> bytes:
    """A file whose parts, cut where its sections are or anywhere, are in another order."""
    file = format_page.parse(data)
    ends, at = [0, 7, 8], 8
    for frame in file.frames:
        at += len(frame.payload)
        ends.append(at)
    ends += [len(data) - 12, len(data) - 8, len(data) - 4, len(data)]
    ends += [generator.randrange(len(data)) for _ in range(2)]
    cuts = sorted(set(ends))
    parts = [data[a:b] for a, b in itertools.pairwise(cuts)]
    a, b = (generator.randrange(len(parts)) for _ in range(2))
    choice = generator.randrange(4)
    if choice == 0:
        parts[a], parts[b] = parts[b], parts[a]
    elif choice == 1:
        parts.insert(a, parts[b])
    elif choice == 2:
        del parts[a]
    else:
        parts[a] = parts[b][-len(parts[a]) :]
    return b"".join(parts)


def extreme_integers(folder: Path, least: int) -> Tally:
    """Each integer of index and payloads at its extremes, checksums forged.

    A typed error, or what the tests' independent decoder finds in the file too.
    """
    cases = list(_extreme_files())
    step = max(len(cases) // least, 1) if least else 1
    path = folder / "extreme.dcz"

    def case(number: int) -> str:
        data = cases[number * step]()
        path.write_bytes(data)
        try:
            found = content(path)
        except dcz.DczError as error:
            return kind_of(error, path)
        expected = {n: (d, tuple(s), b) for n, (d, s, b) in format_page.decode(data).items()}
        if found != expected:
            raise Failure("the independent decoder finds something else")
        return "another valid file"

    return run(case, range(len(cases) // step))


def _extreme_files() -> Iterator[Any]:
    for data in golden().values():
        file = format_page.parse(data)
        for owner, key in _integers(file):
            for value in EXTREMES:
                yield lambda data=data, owner=owner, key=key, value=value: _with_integer(
                    data, owner, key, value
                )
        for number, frame in enumerate(file.frames):
            for at in range(len(frame.payload)):
                for value in EXTREMES:
                    yield lambda data=data, number=number, at=at, value=value: _with_varint(
                        data, number, at, value
                    )


def _integers(file: Any) -> Iterator[tuple[tuple[str, int], Any]]:
    for i in range(len(file.frames)):
        for key in ("coder", "length", "checksum"):
            yield ("frames", i), key
    for i, tensor in enumerate(file.tensors):
        for key in ("kind", "dtype", "frame", "digest", "alias", "prefix", "dimensions"):
            yield ("tensors", i), key
        for dimension in range(len(tensor.shape)):
            yield ("tensors", i), dimension


_MOST = {"coder": 255, "checksum": 2**32 - 1, "kind": 3, "dtype": 63}


def _with_integer(data: bytes, owner: tuple[str, int], key: Any, value: int) -> bytes:
    file = copy.deepcopy(format_page.parse(data))
    entry = getattr(file, owner[0])[owner[1]]
    if isinstance(key, int):
        entry.shape[key] = value
    elif key == "dimensions":
        entry.shape = [1] * min(value, 300) + entry.shape
    elif key == "prefix":
        entry.prefix = min(value, len(entry.name))
    else:
        setattr(entry, key, min(value, _MOST.get(key, value)))
    return bytes(format_page.build(file))


def _with_varint(data: bytes, number: int, at: int, value: int) -> bytes:
    file = format_page.parse(data)
    payload = file.frames[number].payload
    file.frames[number].payload = payload[:at] + format_page.varint(value) + payload[at + 1 :]
    return bytes(format_page.build(file))
