"""Memory while reading hostile files."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from pathlib import Path

from corpus import format_page, parsed
from mutations import forge
from workers import Tally, kind_of, run

import dcz

MEBIBYTE = 1 << 20
LARGE = dcz.DecodeLimits(tensor_bytes=1 << 28, total_bytes=1 << 29)


def memory(folder: Path, cases: int) -> Tally:
    """Hostile files under a limit of address space: file + declared output + 64 MiB.

    Forged files, and bombs: names that grow, metadata that unfold, tables that say nothing.
    """
    files = parsed(folder)
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
            return kind_of(error, path)
        return "read"

    for number in range(len(bombs) + cases):
        one = run(case, range(number, number + 1))
        tally.merge(one)
    return tally


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
