"""Damaged files: flipped bits, forged checksums, cut and added bytes, extreme integers, memory."""

from __future__ import annotations

import copy
import itertools
import random
import resource
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from corpus import LIMITS, Content, content, format_page, golden, larger
from mutations import EXTREMES, forge
from workers import Failure, Tally, attempt, run

import dcz
from dcz.formats.container import HEADER, Container

GUARD = 64
MANY_TENSORS = 4
MEBIBYTE = 1 << 20


# ---- bits ----


def flips_of_golden_files(folder: Path, least: int) -> Tally:
    """Every bit of every golden file of up to 4 KB; `least` bits in the short run.

    One in eight goes through the disk, and each of its tensors is looked at.
    """
    places = [(name, bit) for name, data in golden().items() for bit in range(8 * len(data))]
    step = max(len(places) // least, 1) if least else 1
    chosen = places[::step]
    path = folder / "flipped.dcz"
    good = {name: _content_of(path, data) for name, data in golden().items()}

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
    good = [_content_of(path, data) for data in files]
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


def _content_of(path: Path, data: bytes) -> Content:
    path.write_bytes(data)
    return content(path)


def _typed(error: dcz.DczError, path: Path) -> str:
    if error.file != str(path) or not error.cause:
        raise Failure(f"an error without file or cause: {error!r}")
    return type(error).__name__


def _each_refused_or_right(path: Path, good: Content) -> str:
    """Read each tensor by itself: all are right but those that are refused, and some are."""
    outcome = ""
    try:
        with dcz.open(path, jobs=1) as archive:
            for name in archive:
                try:
                    array = archive[name]
                except dcz.DczError as error:
                    outcome = _typed(error, path)
                    continue
                if good.get(name) != (array.dtype.name, array.shape, array.tobytes()):
                    raise Failure(f"wrong tensor {name!r}")
    except dcz.DczError as error:
        outcome = _typed(error, path)
    if not outcome:
        raise Failure("a flipped bit went unnoticed")
    return outcome


# ---- checksums forged ----


@cache
def _parsed(folder: Path) -> list[Any]:
    large = [data for name, data in larger(folder).items() if name in ("paper", "balanced", "max")]
    return [format_page.parse(data) for data in [*golden().values(), *large]]


def forged_files(folder: Path, cases: int) -> Tally:
    """Files changed with knowledge of their structure, every checksum right again.

    Each is refused with a typed error or gives exactly the declared elements: all of them are
    written, whatever was in memory before, and nothing beside them.
    """
    files = _parsed(folder)

    def case(number: int) -> str:
        generator = random.Random(number)
        return declared_or_refused(forge(generator, _chosen(generator, number, files)))

    return run(case, range(cases))


def _chosen(generator: random.Random, number: int, files: list[Any]) -> Any:
    """A golden file, or one in sixteen times any; those of many tensors, which are slow, rarely."""
    file = generator.choice(files[: len(golden())] if number % 16 else files)
    if len(file.tensors) > MANY_TENSORS and number % 8:
        return generator.choice(files[: len(golden())])
    return file


def declared_or_refused(data: bytes) -> str:
    """Decode every frame of a file twice, into different memory, its digests not compared."""
    try:
        container = Container(memoryview(data), LIMITS)
        for number in range(len(container.index.frames)):
            members = container.members(number)
            size = sum(member.numel for member in members)
            decoder = container.open_frame(number)
            first = _decoded(decoder, size, members[0].dtype, 0)
            if first != _decoded(decoder, size, members[0].dtype, 0xFF):
                raise Failure(f"frame {number}: some elements were not written")
    except dcz.DczError as error:
        return type(error).__name__
    return "the declared size"


def _decoded(decoder: Any, size: int, dtype: np.dtype[Any], fill: int) -> bytes:
    room = np.full(size * dtype.itemsize + 2 * GUARD, fill, np.uint8)
    inner = room[GUARD : room.size - GUARD]
    decoder.decode(0, size, inner.view(dtype))
    if (room[:GUARD] != fill).any() or (room[room.size - GUARD :] != fill).any():
        raise Failure("bytes beside the output were written")
    return inner.tobytes()


# ---- lengths, sections, integers ----


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
            return _typed(error, path)
        raise Failure("was opened")

    tally.merge(run(case, range(len(listed))))


def sections(folder: Path, cases: int) -> Tally:
    """Frames, entries and parts swapped, doubled, dropped and overlapped, checksums not forged."""
    files = [data for data in golden().values() if len(data) > 100]
    path = folder / "sections.dcz"
    good = [_content_of(path, data) for data in files]

    def case(number: int) -> str:
        generator = random.Random(number)
        which = generator.randrange(len(files))
        data = _rearranged(generator, files[which])
        path.write_bytes(data)
        try:
            found = content(path)
        except dcz.DczError as error:
            return _typed(error, path)
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
            return _typed(error, path)
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


# ---- memory ----


def memory(folder: Path, cases: int) -> Tally:
    """Hostile files under a limit of address space: file + declared output + 64 MiB.

    Forged files, and bombs: names that grow, metadata that unfold, tables that say nothing.
    """
    files = _parsed(folder)
    bombs = list(_bombs())
    path = folder / "hostile.dcz"
    tally = Tally()

    def case(number: int) -> str:
        if number < len(bombs):
            data = bombs[number]
        else:
            generator = random.Random(number)
            data = forge(generator, files[generator.randrange(len(files))])
        path.write_bytes(data)
        _limit_address_space(len(data) + _declared(path) + 64 * MEBIBYTE)
        try:
            with dcz.open(path, jobs=1, limits=LARGE) as archive:
                archive.report()
            dcz.load_file(path, jobs=1, limits=LARGE)
        except dcz.DczError as error:
            return _typed(error, path)
        return "read"

    for number in range(len(bombs) + cases):
        one = run(case, range(number, number + 1))
        tally.merge(one)
    return tally


LARGE = dcz.DecodeLimits(tensor_bytes=1 << 28, total_bytes=1 << 29)


def _declared(path: Path) -> int:
    """Bytes of all tensors, if the index tells."""
    try:
        with dcz.open(path, jobs=1, limits=LARGE) as archive:
            return sum(archive.info(name).nbytes for name in archive)
    except dcz.DczError:
        return 0


def _limit_address_space(more: int) -> None:
    with open("/proc/self/statm") as statistics:
        pages = int(statistics.read().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


def _bombs() -> Iterator[bytes]:
    nothing = format_page.digest(b"").to_bytes(8, "little")
    frame = b"\0\0" + format_page.checksum(b"").to_bytes(4, "little")
    for count in (1000, 8000, 20_000):
        entries = b"".join(format_page.varint(i) + b"\1a\x0b\1\0\0" + nothing for i in range(count))
        head = format_page.varint(1) + frame + format_page.varint(count)
        yield format_page.seal(b"", head + entries + b"\0")
    yield format_page.seal(b"", format_page.varint(500_000) + frame * 500_000 + b"\0\0")
    import zstandard

    for raw in (
        b"{" + b'"a":"",' * 2_000_000 + b'"b":""}',
        b'{"a":[' + b"[]," * 4_000_000 + b"1]}",
        b'{"a":' + b"[" * 12_000_000,
        b"{" + b"".join(b'"%x":"",' % i for i in range(500_000)) + b'"b":""}',
        ('{"a":"' + "x" * 3_000_000 + '\U0001f600"}').encode(),
    ):
        stored = zstandard.compress(raw)
        metadata = format_page.varint(len(raw)) + format_page.varint(len(stored)) + stored
        yield format_page.build(format_page.File(metadata=metadata))
    numel = 1 << 27
    tables = format_page.encode_table([1] + 19 * [0]) + format_page.encode_table([1] + 255 * [0])
    wide = format_page.varint(5000) + bytes(5000)
    yield format_page.one(2, wide + tables, [numel])
    yield format_page.one(3, wide + b"\1\1" + tables + b"\0\0" * (numel >> 18), [numel])
    yield format_page.one(2, b"\1\7\1", [numel])
    yield format_page.one(1, b"\0" + b"\1\7" * (numel >> 18), [numel])


# ---- one case again ----


def again(row: str, number: int, folder: Path) -> Tally:
    """Run a single case of `forged_files` in this process, to look at it with a debugger."""
    files = _parsed(folder)
    tally = Tally()

    def case(number: int) -> str:
        generator = random.Random(number)
        data = forge(generator, _chosen(generator, number, files))
        (Path("case.dcz")).write_bytes(data)
        return declared_or_refused(data)

    if row != "forged":
        raise SystemExit("only cases of the row `forged` run alone")
    started = time.monotonic()
    attempt(case, number, tally)
    tally.add(f"{time.monotonic() - started:.3f} s", 0)
    return tally
