"""Hostile pickles, the files they come in, and a watch over what a reader does with them."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import support_mutations as mutations

LEGACY_START = b"".join(
    pickle.dumps(value, 2)
    for value in (
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}},
    )
)
STORAGE = struct.pack("<4f", 1, 2, 3, 4)


def in_zip(content: bytes, data: bytes = STORAGE, byteorder: bytes = b"little") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", byteorder)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", data)
    return stream.getvalue()


def in_legacy(content: bytes) -> bytes:
    return LEGACY_START + content + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + STORAGE


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "bare": bytes,
    "zip": in_zip,
    "legacy": in_legacy,
}


def call(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls a function."""
    inside = b"".join(pickle.dumps(value, 2)[2:-1] for value in arguments)
    return b"\x80\2c" + f"{module}\n{name}\n".encode() + b"(" + inside + b"tR."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(
    count: bytes = b"K\4", key: bytes = b"X\1\0\0\x000", kind: str = "FloatStorage"
) -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + key + text("cpu") + count + b"tQ"


def tensor(
    place: bytes = b"K\0", shape: bytes = b"K\4\x85", stride: bytes = b"K\1\x85", **of: Any
) -> bytes:
    """A state dict with a tensor of four numbers, unless something else is asked for."""
    start = b"\x80\2}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n("
    return start + storage(**of) + place + shape + stride + b"\x89}tRs."


_WATCHED = (
    *("import", "exec", "compile", "marshal.", "pickle.find_class", "code.__new__"),
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.kill", "subprocess."),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.symlink", "os.link"),
    *("os.putenv", "os.truncate", "shutil.", "socket.", "urllib.", "ctypes.", "webbrowser."),
    *("builtins.input", "builtins.breakpoint", "cpython.run", "function.__new__"),
)
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    writes = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(_WATCHED):
        _seen.append(f"{event} {arguments!r:.200}")


# Python imports encodings when they are first used, as those of old archives and pickles.
for _encoding in ("cp437", "raw_unicode_escape", "latin-1"):
    b"a".decode(_encoding)
# A hook can't be taken off again; it looks away unless it is asked to watch.
sys.addaudithook(_watch)


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Fail if anything is imported, compiled, run or opened for writing meanwhile."""
    global _seen
    modules = set(sys.modules)
    _seen = seen = []
    try:
        yield
    finally:
        _seen = None
    assert not seen, seen
    assert set(sys.modules) == modules


def read_all(path: Path) -> list[str]:
    """Open a checkpoint, read every tensor of it, and list them with what else there is."""
    from dcz.formats.checkpoints.registry import open_checkpoint

    with open_checkpoint(path) as checkpoint:
        for name, info in checkpoint.tensors.items():
            array = checkpoint.read(name)
            assert (array.shape, array.dtype) == (info.shape, info.dtype)
            assert checkpoint.corner(name).size <= array.size
        return [*checkpoint.tensors, *(part.key for part in checkpoint.left_out)]


def opcode(generator: random.Random, data: bytes) -> bytes:
    """One opcode more, perhaps with an argument."""
    codes = b"()}]tldsueabcRoiQPhjqrg012.NIJKMGTUXVSF" + bytes(range(0x80, 0x99))
    piece = bytes([generator.choice(codes)]) + generator.randbytes(generator.choice([0, 0, 1, 4]))
    at = generator.randrange(len(data) + 1)
    return data[:at] + piece + data[at:]


def repeat(generator: random.Random, data: bytes) -> bytes:
    """A piece of it once more, elsewhere."""
    start, at = generator.randrange(len(data)), generator.randrange(len(data) + 1)
    return data[:at] + data[start : start + generator.randrange(1, 64)] + data[at:]


def integer(generator: random.Random, data: bytes) -> bytes:
    """One of the telling integers over what is there."""
    value, at = generator.choice(mutations.EXTREMES), generator.randrange(len(data))
    width = generator.choice([1, 2, 4, 8])
    return data[:at] + value.to_bytes(9, "little")[:width] + data[at + width :]


MUTATIONS: tuple[mutations.Mutate, ...] = (
    *(mutations.flip, mutations.overwrite, mutations.insert, mutations.delete),
    *(opcode, repeat, integer),
)


def mutate(generator: random.Random, data: bytes) -> bytes:
    """Change it in one to four places."""
    for _ in range(generator.choice([1, 1, 1, 2, 4])):
        data = generator.choice(MUTATIONS)(generator, data) or b"."
    return data
