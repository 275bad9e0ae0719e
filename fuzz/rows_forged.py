"""Files changed with knowledge of their structure, every checksum right again."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
from corpus import LIMITS, golden, parsed
from mutations import forge
from workers import Failure, Tally, attempt, run

import dcz
from dcz.formats.container.container import Container

GUARD = 64
MANY_TENSORS = 4


def forged_files(folder: Path, cases: int) -> Tally:
    """Files changed with knowledge of their structure, every checksum right again.

    Each is refused with a typed error or gives exactly the declared elements: all of them are
    written, whatever was in memory before, and nothing beside them.
    """
    files = parsed(folder)

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


def again(row: str, number: int, folder: Path) -> Tally:
    """Run a single case of `forged_files` in this process, to look at it with a debugger."""
    files = parsed(folder)
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
