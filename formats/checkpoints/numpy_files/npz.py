"""Reads and writes NumPy's `.npz`, and presents a dictionary of arrays as a checkpoint."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, BinaryIO

import numpy as np

from ....codec.errors import InputError, UnsupportedError, located
from ...container.dtypes import by_numpy
from ...container.tensor_info import TensorInfo
from ..base import (
    Array,
    Checkpoint,
    LeftOut,
    Read,
    bytes_of,
    canonical_array,
    checked_info,
    corner_of,
    read_as,
)
from .npy import MAX_HEADER_BYTES, NpyHeader, checked_npy, npy_array, parse_npy_header
from .zip_damage import zip_damage_refused

MAX_DEFLATE_RATIO = 1032
MAX_MEMBER_NAME_BYTES = 65_535
_CHUNK_BYTES = 1 << 20
# Kinds of arrays that are passed over, in words.
_NO_NUMBERS = {
    "U": "text",
    "S": "bytes",
    "O": "Python objects, which are never loaded",
    "M": "dates",
    "m": "spans of time",
    "V": "structures",
}


class NpzCheckpoint(Checkpoint):
    """A `.npz` archive; one array at a time is read from it, and no pickle ever.

    Arrays of text, dates, structures and objects are left out, if there are others.

    Raises
    ------
    InputError
        The archive is damaged, holds nothing but Python objects or anything but arrays, or
        declares a size that its content can't have.
    UnsupportedError
        An element type or a kind of compression this release does not know.
    """

    format = "npz"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path))
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._headers: dict[str, NpyHeader] = {}
        with located(file=self.path):
            with zip_damage_refused():
                self._archive = zipfile.ZipFile(self.path)
            try:
                self._list()
            except BaseException:
                self._archive.close()
                raise

    def read(self, name: str) -> Array:
        """Return a copy of one array; InputError if its checksum or its size is wrong."""
        header, member = self._headers[name], self._members[name]
        elements = np.empty(self.tensors[name].numel, header.dtype)
        with (
            located(file=self.path, tensor=name),
            zip_damage_refused(),
            self._archive.open(member) as stream,
        ):
            stream.read(header.size)
            _fill(elements, stream)
        return npy_array(elements, header)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()
        self._headers = {}
        self.tensors = {}

    def _list(self) -> None:
        archive_size = os.path.getsize(self.path)
        others: dict[str, tuple[NpyHeader, int]] = {}
        for member in self._archive.infolist():
            name = member.filename.removesuffix(".npy")
            with located(tensor=name):
                if name == member.filename:
                    raise InputError("the archive's member is not an .npy array")
                if name in self.tensors or name in others:
                    raise InputError("two of the archive's members have this name")
                check_member(member, archive_size)
                header = self._read_header(member)
                if header.dtype.kind in _NO_NUMBERS:
                    others[name] = header, member.file_size
                    continue
                self._headers[name], self._members[name] = header, member
                self.tensors[name] = checked_npy(name, header, member.file_size)
        self._leave_out(others)

    def _leave_out(self, others: Mapping[str, tuple[NpyHeader, int]]) -> None:
        """Pass over arrays of no numbers, unless there are no others."""
        for name, (header, size) in others.items():
            if not self.tensors:
                with located(tensor=name):
                    checked_npy(name, header, size)
            self.left_out.append(LeftOut(name, f"array of {_NO_NUMBERS[header.dtype.kind]}", 0, 0))

    def _read_header(self, member: zipfile.ZipInfo) -> NpyHeader:
        with zip_damage_refused(), self._archive.open(member) as stream:
            return parse_npy_header(stream.read(MAX_HEADER_BYTES))


class MappingCheckpoint(Checkpoint):
    """A dictionary of arrays in memory, which is neither copied nor changed.

    Raises
    ------
    InputError
        A name is not a string or a value not a plain array.
    UnsupportedError
        An element type this release does not know.
    """

    format = "arrays"

    def __init__(self, arrays: Mapping[str, Array], path: str = "<arrays>") -> None:
        super().__init__(path)
        self._arrays = dict(arrays)
        first: dict[object, str] = {}
        with located(file=path):
            for name, array in self._arrays.items():
                if not isinstance(name, str):
                    raise InputError(f"the name {name!r} is not a string")
                with located(tensor=name):
                    self.tensors[name] = _described(name, array)
                if array.size and first.setdefault(_identity(array), name) != name:
                    self.ties[name] = first[_identity(array)]

    def read(self, name: str) -> Array:
        """Return a read-only view of the array, or a copy if it is not in C order."""
        return canonical_array(self._arrays[name])

    def corner(self, name: str) -> Array:
        """Return the first elements along each axis."""
        return corner_of(self._arrays[name])


def write_npz(
    stream: BinaryIO,
    infos: Sequence[TensorInfo],
    read: Read,
    metadata: Mapping[str, str],
    ties: Mapping[str, str],
) -> None:
    """Write an uncompressed `.npz` without time stamps, one array in memory at a time.

    The format has neither ties nor metadata: tied tensors are written in full, metadata is
    left out.

    Raises
    ------
    UnsupportedError
        An element type that NumPy itself does not have, or a name that a zip can't hold.
    """
    members = [_new_member(info) for info in infos]
    with zipfile.ZipFile(stream, "w") as archive:
        for info, member in zip(infos, members, strict=True):
            array = read_as(read, info)
            with archive.open(member, "w", force_zip64=True) as target:
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(target, header)
                target.write(bytes_of(array))


def _new_member(info: TensorInfo) -> zipfile.ZipInfo:
    if not by_numpy(info.dtype).is_native:
        raise UnsupportedError(
            f"NumPy files can't hold {info.dtype}: write .safetensors", tensor=info.name
        )
    member = zipfile.ZipInfo(f"{info.name}.npy", (1980, 1, 1, 0, 0, 0))
    if member.filename != f"{info.name}.npy" or len(info.name.encode()) > MAX_MEMBER_NAME_BYTES - 4:
        raise UnsupportedError("a zip archive can't hold this name", tensor=info.name)
    member.create_system = 3  # the default depends on the platform
    member.external_attr = 0o600 << 16
    return member


def check_member(member: zipfile.ZipInfo, archive_size: int) -> None:
    """Check that a member's declared sizes are possible before anything is sized by them.

    Raises
    ------
    InputError
        They are not, or the member is encrypted.
    UnsupportedError
        It is compressed by anything but deflate.
    """
    if member.flag_bits & 1:
        raise InputError("the archive's member is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsupportedError(f"zip compression method {member.compress_type} is not supported")
    ratio = 1 if member.compress_type == zipfile.ZIP_STORED else MAX_DEFLATE_RATIO
    if member.compress_size > archive_size or member.file_size > member.compress_size * ratio:
        raise InputError(f"declares {member.file_size} bytes, more than the archive can hold")


def _fill(elements: Array, stream: IO[bytes]) -> None:
    target = elements.view(np.uint8)
    # In pieces, because a zip member is read through an intermediate copy.
    for start in range(0, target.size, _CHUNK_BYTES):
        wanted = target[start : start + _CHUNK_BYTES]
        piece = stream.read(wanted.size)
        if len(piece) != wanted.size:
            raise InputError("its content is shorter than the archive declares")
        wanted[:] = np.frombuffer(piece, np.uint8)


def _described(name: str, array: object) -> TensorInfo:
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise InputError(f"is a {type(array).__name__} and not a plain NumPy array")
    return checked_info(name, array.dtype, array.shape)


def _identity(array: Array) -> object:
    # NumPy's own `__array_interface__` crashes where memory ends.
    return array.ctypes.data, array.dtype, array.shape, array.strides
