"""NumPy's files against NumPy as the oracle, hostile archives, and arrays in memory."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from dcz.codec.errors import InputError, UnsupportedError
from dcz.formats.checkpoints.numpy_files.npz import MappingCheckpoint
from dcz.formats.checkpoints.registry import open_checkpoint, write_checkpoint
from dcz.formats.container.dtypes import DTYPES
from dcz.formats.pack.pack import pack

NATIVE = [row for row in DTYPES if row.is_native]
SHAPES = [(), (0,), (2, 0, 3), (1,), (300,), (4, 5, 6)]


def random_bits(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    bits = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    if dtype == np.bool_:
        bits &= 1
    return bits.view(dtype).reshape(shape)


def all_tensors() -> dict[str, np.ndarray]:
    return {
        f"layer/{row.name}.{index}": random_bits(row.numpy, shape)
        for row in NATIVE
        for index, shape in enumerate(SHAPES)
    }


def save(path: Path | io.BytesIO, tensors: dict[str, np.ndarray], **options: Any) -> None:
    source = MappingCheckpoint(tensors)
    write_checkpoint(path, list(source.tensors.values()), source.read, **options)


def assert_equal(path: Path, tensors: dict[str, np.ndarray]) -> None:
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == list(tensors)
        for name, array in tensors.items():
            found = checkpoint.read(name)
            little = array.dtype.newbyteorder("<")
            assert checkpoint.tensors[name].shape == found.shape == array.shape
            assert checkpoint.tensors[name].dtype == found.dtype == little
            assert found.tobytes() == array.astype(little).tobytes()
            assert found.flags.c_contiguous and not found.flags.writeable


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_archives_of_numpy_are_read_bit_for_bit(tmp_path: Path, writer: Any) -> None:
    writer(tmp_path / "m.npz", **all_tensors())
    assert_equal(tmp_path / "m.npz", all_tensors())


def test_numpy_reads_what_is_written_bit_for_bit(tmp_path: Path) -> None:
    tensors = all_tensors()
    save(tmp_path / "m.npz", tensors)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as loaded:
        assert loaded.files == list(tensors)
        for name, array in tensors.items():
            assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
            assert loaded[name].tobytes() == array.tobytes()
    assert_equal(tmp_path / "m.npz", tensors)


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    streams = [io.BytesIO(), io.BytesIO()]
    for stream in streams:
        save(stream, all_tensors(), format="npz")
    save(tmp_path / "m.npz", all_tensors())
    assert streams[0].getvalue() == streams[1].getvalue() == (tmp_path / "m.npz").read_bytes()


LAYOUTS = {
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(24.0).reshape(4, 6)[::2, 1::2],
    "reversed": np.arange(5.0)[::-1],
    "transposed": np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1),
    "expanded": np.broadcast_to(np.float32(3.5), (4, 5)),
    "big-endian": np.array([1.5, -0.0, np.nan, 1e-310], ">f8"),
    "big-endian 0-d": np.array(7, ">i4"),
    "misaligned": np.frombuffer(b"\0" + np.arange(4.0).tobytes(), np.uint8)[1:].view("<f8"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_come_back_in_c_order(tmp_path: Path, layout: str) -> None:
    array = LAYOUTS[layout]
    np.savez(tmp_path / "numpy.npz", a=array)
    np.save(tmp_path / "a.npy", array)
    save(tmp_path / "dcz.npz", {"a": array})
    for file in ("numpy.npz", "a.npy", "dcz.npz"):
        assert_equal(tmp_path / file, {"a": array})


def test_single_array_is_named_by_its_file(tmp_path: Path) -> None:
    for array in all_tensors().values():
        np.save(tmp_path / "weight.npy", array)
        assert_equal(tmp_path / "weight.npy", {"weight": array})


def test_single_array_is_a_view_of_the_file_that_outlives_it(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.arange(4.0))
    with open_checkpoint(tmp_path / "w.npy") as checkpoint:
        found = checkpoint.read("w")
        assert np.shares_memory(found, checkpoint.read("w"))
        with pytest.raises(KeyError):
            checkpoint.read("v")
    assert found.tolist() == [0, 1, 2, 3]


def test_name_that_ends_like_a_file(tmp_path: Path) -> None:
    tensors = {"a.npy": np.zeros(1), "a": np.ones(1), "": np.zeros(2), "имя": np.zeros(3)}
    save(tmp_path / "m.npz", tensors)
    assert_equal(tmp_path / "m.npz", tensors)


def test_zip_too_long_for_its_fields_is_streamed(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    save(pipe, {"a": np.arange(3.0)}, format="npz")  # type: ignore[arg-type]
    (tmp_path / "m.npz").write_bytes(pipe.content)
    assert_equal(tmp_path / "m.npz", {"a": np.arange(3.0)})


@pytest.mark.parametrize("dtype", [row.numpy for row in DTYPES if not row.is_native], ids=str)
def test_types_that_numpy_lacks_are_not_written(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"write \.safetensors") as caught:
        save(tmp_path / "m.npz", {"fine": np.zeros(1), "w": np.zeros(2, dtype)})
    assert caught.value.tensor == "w"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\0b", "n" * 70_000])
def test_names_that_a_zip_lacks_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsupportedError, match="zip archive can't hold"):
        save(tmp_path / "m.npz", {name: np.zeros(1)})


def npy(array: np.ndarray, **header: Any) -> bytes:
    stream = io.BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(
            stream, np.lib.format.header_data_from_array_1_0(array) | header
        )
        return stream.getvalue() + array.tobytes()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


class Touches:
    """A pickle of it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    "other",
    [
        np.array(["a", "bc"]),
        np.array([b"a"]),
        np.array(["2020"], "M8[D]"),
        np.array([1], "m8[s]"),
        np.zeros(2, [("a", "f4")]),
        np.array([None, "x"], object),
    ],
    ids=["text", "bytes", "dates", "spans", "structures", "objects"],
)
def test_arrays_of_no_numbers_are_left_out_and_told(tmp_path: Path, other: Any) -> None:
    np.savez(tmp_path / "m.npz", a=np.arange(3.0), other=other, b=np.ones(1))
    with open_checkpoint(tmp_path / "m.npz") as checkpoint:
        assert list(checkpoint.tensors) == ["a", "b"]
        assert [part.key for part in checkpoint.left_out] == ["other"]
    with pytest.warns(UserWarning, match=r"m\.npz: left out were other$"):
        pack(tmp_path / "m.npz", tmp_path / "m.dcz")


def test_object_arrays_are_refused_and_not_run(tmp_path: Path) -> None:
    poison = np.array([Touches(tmp_path / "ran")], object)
    np.savez(tmp_path / "m.npz", poison=poison)
    np.save(tmp_path / "poison.npy", poison, allow_pickle=True)
    for file in ("m.npz", "poison.npy"):
        with pytest.raises(InputError, match="pickle and never loaded") as caught:
            open_checkpoint(tmp_path / file)
        assert caught.value.tensor == "poison"
    assert not (tmp_path / "ran").exists()


MEMBERS = {
    "bomb": (npy(np.zeros(1), shape=(10**15,)), "8000000000000000 bytes, 8 are there"),
    "overflow": (npy(np.zeros(1), shape=(2**40, 2**40)), "address space"),
    "negative": (npy(np.zeros(1), shape=(-1,)), "non-negative"),
    "bool shape": (npy(np.zeros(1), shape=(True,)), "non-negative"),
    "short": (npy(np.zeros(3))[:-1], "24 bytes, 23 are there"),
    "long": (npy(np.zeros(3)) + b"x", "24 bytes, 25 are there"),
    "empty": (b"", "not a valid NumPy array"),
    "no magic": (b"hello" * 20, "not a valid NumPy array"),
    "version 9": (b"\x93NUMPY\x09\0" + bytes(64), "version"),
    "long header": (b"\x93NUMPY\2\0" + struct.pack("<I", 2**31) + bytes(64), "not a valid"),
    "header of code": (
        b"\x93NUMPY\1\0" + struct.pack("<H", 16) + b"__import__('os')",
        "not a valid",
    ),
    "deep header": (b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"(" * 9000, "not a valid"),
    "structured": (npy(np.zeros(2, [("a", "f4")])), "not supported"),
    "bfloat16 as void": (npy(np.zeros(2, ml_dtypes.bfloat16)), "not supported"),
    "text": (npy(np.array(["a"])), "not supported"),
    "dates": (npy(np.array(["2020"], "M8[D]")), "not supported"),
}


@pytest.mark.parametrize("fault", MEMBERS)
def test_faulty_arrays_are_refused_with_the_cause(tmp_path: Path, fault: str) -> None:
    content, cause = MEMBERS[fault]
    (tmp_path / "w.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("w.npy", content)
    for file in ("w.npy", "m.npz"):
        with pytest.raises((InputError, UnsupportedError), match=cause) as caught:
            open_checkpoint(tmp_path / file)
        assert (caught.value.tensor, caught.value.file) == ("w", str(tmp_path / file))


def archive_of(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytearray:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return bytearray(stream.getvalue())


def refused(path: Path, content: bytes, cause: str | None = None) -> None:
    path.write_bytes(content)
    with pytest.raises((InputError, UnsupportedError), match=cause) as caught:
        open_checkpoint(path)
    assert caught.value.file == str(path)


def test_archive_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    content = archive_of(("w.npy", npy(np.zeros(9))), compression=zipfile.ZIP_DEFLATED)
    directory = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, directory + 24, 2**31)
    refused(tmp_path / "m.npz", content, "more than the archive can hold")


def test_member_longer_than_declared_is_refused(tmp_path: Path) -> None:
    whole = npy(np.arange(9.0))
    content = archive_of(("w.npy", whole))
    content[content.rindex(b"(9,)") : content.rindex(b"(9,)") + 4] = b"(1,)"
    directory = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, directory + 24, len(whole) - 64)
    (tmp_path / "m.npz").write_bytes(content)
    with (
        pytest.raises(InputError) as caught,
        open_checkpoint(tmp_path / "m.npz") as checkpoint,
    ):
        checkpoint.read("w")
    assert caught.value.tensor == "w"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [900, 200_000])
def test_flipped_bit_in_an_array_is_found(tmp_path: Path, compression: int, size: int) -> None:
    values = np.random.default_rng(0).normal(size=size)
    content = archive_of(("w.npy", npy(values)), compression=compression)
    content[len(content) // 2] ^= 1
    (tmp_path / "m.npz").write_bytes(content)
    with (
        pytest.raises(InputError, match="damaged") as caught,
        open_checkpoint(tmp_path / "m.npz") as checkpoint,
    ):
        checkpoint.read("w")
    assert (caught.value.tensor, caught.value.file) == ("w", str(tmp_path / "m.npz"))


def test_member_shorter_than_declared_is_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=5000)
    short = npy(values, shape=(6000,))
    content = archive_of(("w.npy", short), compression=zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", content, content.rindex(b"PK\1\2") + 24, len(short) + 8000)
    (tmp_path / "m.npz").write_bytes(content)
    with (
        open_checkpoint(tmp_path / "m.npz") as checkpoint,
        pytest.raises(InputError, match="shorter than the archive declares") as caught,
    ):
        checkpoint.read("w")
    assert (caught.value.tensor, caught.value.file) == ("w", str(tmp_path / "m.npz"))


def test_other_faulty_archives_are_refused(tmp_path: Path) -> None:
    path, array = tmp_path / "m.npz", npy(np.zeros(2))
    with pytest.warns(UserWarning, match="Duplicate"):
        doubled = archive_of(("w.npy", array), ("w.npy", array))
    refused(path, doubled, "two of the archive's members")
    refused(path, archive_of(("w.txt", b"hello")), "not an .npy array")
    refused(path, archive_of(("w.npy", array), compression=zipfile.ZIP_LZMA), "compression method")
    refused(path, b"", "damaged zip archive")
    refused(path, archive_of(("w.npy", array))[:-30], "damaged zip archive")
    encrypted = archive_of(("w.npy", array))
    encrypted[encrypted.rindex(b"PK\1\2") + 8] |= 1
    refused(path, encrypted, "encrypted")


def test_every_prefix_is_refused(tmp_path: Path) -> None:
    contents = {"m.npz": archive_of(("w.npy", npy(np.zeros(2)))), "w.npy": npy(np.zeros(2))}
    for file, content in contents.items():
        for length in range(len(content)):
            refused(tmp_path / file, content[:length])


class TestMapping:
    def test_arrays_are_neither_copied_nor_changeable(self) -> None:
        array = np.arange(6.0).reshape(2, 3)
        with MappingCheckpoint({"a": array}) as checkpoint:
            found = checkpoint.read("a")
        assert np.shares_memory(found, array)
        assert not found.flags.writeable and array.flags.writeable
        with pytest.raises(ValueError):
            found[0] = 1

    def test_same_memory_is_a_tie_and_equal_content_is_not(self) -> None:
        array = np.arange(6.0)
        ties = MappingCheckpoint(
            {
                "a": array,
                "again": array[:],
                "part": array[:3],
                "shape": array.reshape(2, 3),
                "type": array.view(np.int64),
                "copy": array.copy(),
                "once more": array,
                "reversed": array[::-1],
                "empty": array[:0],
                "empty too": array[:0],
            }
        ).ties
        assert ties == {"again": "a", "once more": "a"}

    @pytest.mark.parametrize(
        "value", [[1.0], 1.0, np.float32(1), None, np.ma.array([1.0], mask=[True])], ids=repr
    )
    def test_what_is_not_an_array_is_refused(self, value: Any) -> None:
        with pytest.raises(InputError, match="not a plain NumPy array") as caught:
            MappingCheckpoint({"a": value})
        assert caught.value.tensor == "a"

    def test_unusable_types_and_names_are_refused(self) -> None:
        with pytest.raises(UnsupportedError, match="not supported"):
            MappingCheckpoint({"a": np.array(["text"])})
        with pytest.raises(UnsupportedError, match="not valid Unicode"):
            MappingCheckpoint({"\ud800": np.zeros(1)})
        with pytest.raises(InputError, match="not a string"):
            MappingCheckpoint({1: np.zeros(1)})  # type: ignore[dict-item]


def test_failing_disk_stays_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    np.savez(tmp_path / "m.npz", w=np.zeros(1))
    monkeypatch.setattr(zipfile, "ZipFile", fail)
    with pytest.raises(OSError, match="Input/output"):
        open_checkpoint(tmp_path / "m.npz")
