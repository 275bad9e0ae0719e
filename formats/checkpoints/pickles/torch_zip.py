"""PyTorch's zip archives: the pickle and the storages, mapped into memory, inflated if need be."""

from __future__ import annotations

import mmap
import os
import zipfile
import zlib
from functools import partial
from typing import BinaryIO

import numpy as np

from ....codec.errors import InputError
from ..base import Array
from ..numpy_files.npz import check_member
from ..numpy_files.zip_damage import zip_members
from .entries import Storage
from .machine.machine import Persistent
from .tensors import parse_storage_identifier

_HEADER = 30
_PICKLE = "/data.pkl"
MAX_PICKLE_BYTES = 1 << 28


class TorchZip:
    """A zip archive of PyTorch, or of TorchScript.

    Raises
    ------
    InputError
        It is damaged, or has no pickle where PyTorch puts it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        with open(path, "rb") as stream:
            members = zip_members(stream)
            self._bytes = np.frombuffer(map_stream(stream), np.uint8)
        self._members = {member.filename: member for member in members}
        if len(self._members) != len(members):
            raise InputError("damaged zip archive: two of its members have one name")
        self._root = self._find_root()
        self._storages: dict[tuple[str, str], Storage] = {}
        self._last: tuple[str, Array] = ("", np.empty(0, np.uint8))
        self._is_big_endian = self._has("byteorder") and self.member("byteorder").tobytes() == (
            b"big"
        )

    @property
    def is_torchscript(self) -> bool:
        """Whether it is a program of TorchScript and not of torch.save."""
        return self._has("constants.pkl")

    def pickle(self, name: str) -> memoryview:
        """Return the bytes of a pickle."""
        member = self._members[self._root + name]
        if member.compress_type != zipfile.ZIP_STORED and member.file_size > MAX_PICKLE_BYTES:
            raise InputError(f"{name} is compressed and of more than {MAX_PICKLE_BYTES >> 20} MiB")
        return self.member(name).data

    def member(self, name: str) -> Array:
        """Return the bytes of a member, a view of the file where it is not compressed."""
        member = self._members[self._root + name]
        check_member(member, self._bytes.size)
        start = self._start(member)
        content = self._bytes[start : start + member.compress_size]
        if member.compress_type == zipfile.ZIP_STORED:
            return content[: member.file_size]
        # The last one is kept: several tensors may lie in it.
        if self._last[0] != name:
            self._last = name, _inflate(content, member)
        return self._last[1]

    def persistent(self, folder: str) -> Persistent:
        """Return what gives the storages that a pickle refers to, out of a folder."""
        return partial(self._storage, folder)

    def _storage(self, folder: str, identifier: object) -> Storage:
        key, dtype, size, _ = parse_storage_identifier(identifier)
        known = self._storages.get((folder, key))
        if known is None:
            known = self._open_storage(f"{folder}/{key}", dtype, size)
            self._storages[folder, key] = known
        if (known.dtype, known.nbytes) != (dtype, size):
            raise InputError(f"its pickle has two kinds of the storage {key!r}")
        return known

    def _open_storage(self, name: str, dtype: str, size: int) -> Storage:
        member = self._members.get(self._root + name)
        if member is None:
            raise InputError(f"its archive misses the storage {name!r}")
        check_member(member, self._bytes.size)
        if member.file_size != size:
            raise InputError(f"storage {name!r} has {member.file_size} bytes, not {size}")
        self._start(member)
        return Storage(dtype, size, partial(self.member, name), self._is_big_endian)

    def _has(self, name: str) -> bool:
        return self._root + name in self._members

    def _find_root(self) -> str:
        found = [name for name in self._members if name.endswith(_PICKLE)]
        if not found:
            raise InputError("its archive has no data.pkl, as PyTorch's have")
        return min(found, key=len).removesuffix("data.pkl")

    def _start(self, member: zipfile.ZipInfo) -> int:
        """Return where a member's content starts, behind a header of its own."""
        at = member.header_offset
        header = self._bytes[at : at + _HEADER].tobytes() if at >= 0 else b""
        if len(header) < _HEADER or header[:4] != b"PK\3\4":
            raise InputError(f"damaged zip archive: no member where {member.filename!r} is due")
        name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        start = at + _HEADER + name + extra
        if start + member.compress_size > self._bytes.size:
            raise InputError(f"damaged zip archive: {member.filename!r} is cut short")
        return start


def _inflate(content: Array, member: zipfile.ZipInfo) -> Array:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        raw = inflater.decompress(content.data, member.file_size + 1)
    except zlib.error as error:
        raise InputError(f"damaged zip archive: {member.filename!r}: {error}") from None
    if len(raw) != member.file_size or zlib.crc32(raw) != member.CRC:
        raise InputError(f"damaged zip archive: {member.filename!r} is not what was compressed")
    return np.frombuffer(raw, np.uint8)


def map_stream(stream: BinaryIO) -> mmap.mmap:
    """Map an open file into memory; InputError if it is empty."""
    try:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise InputError("is empty and no file of PyTorch") from None
