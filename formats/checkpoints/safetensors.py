"""Reads and writes safetensors files.

The header is handled here and not by the safetensors library, because its NumPy side has no
bfloat16 or fp8 and its writer needs all tensors in memory at once.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from ...codec.errors import InputError, UnsupportedError, located
from ..container.dtypes import by_numpy, by_safetensors
from ..container.tensor_info import TensorInfo
from .base import (
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

MAX_HEADER_BYTES = 100_000_000
METADATA_KEY = "__metadata__"

# The library's order of element types in a file: alignment never grows, so all stay aligned.
_FILE_ORDER = (
    *("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16"),
    *("F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"),
)


class SafetensorsCheckpoint(Checkpoint):
    """A safetensors file, memory-mapped; a file cut short while it is open ends the process.

    Raises
    ------
    InputError
        The file breaks the format's rules; the message says which.
    UnsupportedError
        An element type this release does not know.
    """

    format = "safetensors"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path))
        with located(file=self.path):
            self._bytes = _map_file(self.path)
            size = _header_size(self._bytes)
            header = parse_json_object(self._bytes[8 : 8 + size].tobytes(), "the header")
            self._data = self._bytes[8 + size :]
            self.metadata = _metadata(header.pop(METADATA_KEY, {}))
            self._starts: dict[str, int] = {}
            for name, entry in header.items():
                with located(tensor=name):
                    self.tensors[name], self._starts[name] = _entry(name, entry)
            end = _check_layout(self.tensors, self._starts, self._data.size)
        if end != self._data.size:
            size = self._data.size - end
            self.left_out.append(LeftOut("end of file", f"{size:,} bytes of no tensor", 0, 0))

    def read(self, name: str) -> Array:
        """Return a read-only view of the mapped file."""
        info, start = self.tensors[name], self._starts[name]
        elements = self._data[start : start + info.nbytes]
        return canonical_array(elements.view(info.dtype).reshape(info.shape))

    def corner(self, name: str) -> Array:
        """Return the first elements along each axis."""
        return corner_of(self.read(name))

    def close(self) -> None:
        """Let go of the map, which lives on for as long as an array that was read from it."""
        self._bytes = self._data = np.empty(0, np.uint8)
        self.tensors = {}


def write_safetensors(
    stream: BinaryIO,
    infos: Sequence[TensorInfo],
    read: Read,
    metadata: Mapping[str, str],
    ties: Mapping[str, str],
) -> None:
    """Write a safetensors file, one tensor in memory at a time.

    The format has no ties: each tied tensor is written in full under each of its names.

    Raises
    ------
    UnsupportedError
        A name or element type that the format can't hold.
    """
    ordered = sorted(infos, key=_file_position)
    header: dict[str, Any] = {METADATA_KEY: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for info in ordered:
        start, end = end, end + info.nbytes
        header[info.name] = {
            "dtype": by_numpy(info.dtype).safetensors,
            "shape": list(info.shape),
            "data_offsets": [start, end],
        }
    stream.write(_pack_header(header))
    for info in ordered:
        stream.write(bytes_of(read_as(read, info)))


def parse_json_object(text: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object in which no key may occur twice; InputError if it is anything else."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise InputError(f"{what} is not UTF-8: {error.reason}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{what} is not a JSON object")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise InputError(f"key {key!r} occurs twice in one JSON object")
        result[key] = value
    return result


def _map_file(path: str) -> Array:
    with open(path, "rb") as stream:
        if os.fstat(stream.fileno()).st_size < 8:
            raise InputError("too short for a safetensors file")
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, np.uint8)


def _header_size(content: Array) -> int:
    size = int.from_bytes(content[:8].tobytes(), "little")
    if size > MAX_HEADER_BYTES:
        raise InputError(f"header length {size} is over the format's {MAX_HEADER_BYTES} bytes")
    if size > content.size - 8:
        raise InputError(f"header of {size} bytes runs past the end of the file")
    if content[8 : 8 + min(size, 1)].tobytes() != b"{":
        raise InputError("the header does not start with '{'")
    return size


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InputError(f"{METADATA_KEY} does not map strings to strings")
    try:
        "".join([*value, *value.values()]).encode()
    except UnicodeEncodeError:
        raise InputError(f"{METADATA_KEY} is not valid Unicode") from None
    return value


def _entry(name: str, entry: object) -> tuple[TensorInfo, int]:
    """Return what a header entry declares and where its elements start."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InputError("the entry must have exactly dtype, shape and data_offsets")
    if not isinstance(entry["dtype"], str):
        raise InputError("dtype is not a string")
    shape = _sizes(entry["shape"], "shape")
    offsets = _sizes(entry["data_offsets"], "data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InputError(f"data_offsets {offsets} are not a begin and an end")
    info = checked_info(name, by_safetensors(entry["dtype"]).numpy, shape)
    if info.nbytes != offsets[1] - offsets[0]:
        raise InputError(
            f"data_offsets {offsets} hold {offsets[1] - offsets[0]} bytes, "
            f"shape and dtype need {info.nbytes}"
        )
    return info, offsets[0]


def _sizes(value: object, what: str) -> list[int]:
    # type() and not isinstance(): JSON's true is an int in Python.
    if isinstance(value, list) and all(type(item) is int and item >= 0 for item in value):
        return value
    raise InputError(f"{what} is not a list of non-negative integers")


def _check_layout(tensors: dict[str, TensorInfo], starts: dict[str, int], size: int) -> int:
    """Check that the tensors follow each other from the data's start, and return where they end.

    Some tools pad files behind the last tensor.
    """
    end = 0
    for name, start in sorted(starts.items(), key=lambda item: (item[1], tensors[item[0]].nbytes)):
        if start != end:
            cause = "overlaps the one before it" if start < end else "leaves a hole before it"
            raise InputError(f"starts at {start} where {end} is due: it {cause}", tensor=name)
        end = start + tensors[name].nbytes
        if end > size:
            raise InputError(f"ends at {end}, past the end of the data at {size}", tensor=name)
    if end != size and not tensors:
        raise InputError(f"{size} bytes belong to no tensor")
    return end


def _file_position(info: TensorInfo) -> tuple[int, str]:
    dtype = by_numpy(info.dtype).safetensors
    if dtype is None:
        raise UnsupportedError(
            f"safetensors has no {info.dtype}: write .pt or .npz", tensor=info.name
        )
    if info.name == METADATA_KEY:
        raise UnsupportedError("safetensors reserves this name", tensor=info.name)
    return _FILE_ORDER.index(dtype), info.name


def _pack_header(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise UnsupportedError(f"a safetensors header can't exceed {MAX_HEADER_BYTES} bytes")
    return len(text).to_bytes(8, "little") + text
