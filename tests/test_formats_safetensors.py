"""safetensors files against the library as the oracle, and every fault of a header."""

from __future__ import annotations

import io
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.codec.errors import InputError, UnsupportedError
from dcz.formats.checkpoints.base import checked_info
from dcz.formats.checkpoints.numpy_files.npz import MappingCheckpoint
from dcz.formats.checkpoints.registry import open_checkpoint, write_checkpoint
from dcz.formats.checkpoints.safetensors import SafetensorsCheckpoint
from dcz.formats.container.dtypes import DTYPES
from dcz.formats.pack.pack import pack

ROWS = [row for row in DTYPES if row.safetensors is not None]
SHAPES = [(), (0,), (3, 0, 2), (1,), (257,), (4, 5, 6)]


def every_bit_pattern(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    """NaN payloads, infinities, -0.0 and denormals are all among random bits of this many."""
    size = int(np.prod(shape)) * dtype.itemsize
    bits = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    if dtype == np.bool_:
        bits &= 1
    return bits.view(dtype).reshape(shape)


def all_tensors() -> dict[str, np.ndarray]:
    tensors = {
        f"{row.name}.{index}": every_bit_pattern(row.numpy, shape)
        for row in ROWS
        for index, shape in enumerate(SHAPES)
    }
    tensors["special"] = np.array(
        [0x7FC00001, 0x7F800001, 0xFFFFFFFF, 0x80000000, 0x7F800000, 0xFF800000, 1, 0x807FFFFF],
        np.uint32,
    ).view(np.float32)
    return tensors


def save(path: Path, tensors: dict[str, np.ndarray], **options: Any) -> None:
    source = MappingCheckpoint(tensors)
    write_checkpoint(path, list(source.tensors.values()), source.read, **options)


def raw(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_round_trip_keeps_every_bit_of_every_type_and_shape(tmp_path: Path) -> None:
    tensors = all_tensors()
    save(tmp_path / "m.safetensors", tensors, metadata={"format": "pt", "ключ": '"\n\x01'})
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        assert checkpoint.format == "safetensors"
        assert checkpoint.metadata == {"format": "pt", "ключ": '"\n\x01'}
        assert set(checkpoint.tensors) == set(tensors)
        for name, array in tensors.items():
            info, found = checkpoint.tensors[name], checkpoint.read(name)
            assert (info.dtype, info.shape) == (array.dtype, array.shape)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()
            assert found.flags.c_contiguous and not found.flags.writeable


def test_library_loads_what_is_written(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    # The library can write float8_e8m0fnu from PyTorch, but has no name for it when reading.
    tensors = {n: a for n, a in all_tensors().items() if a.dtype.name != "float8_e8m0fnu"}
    save(tmp_path / "m.safetensors", tensors)
    loaded = library.load_file(tmp_path / "m.safetensors")
    assert set(loaded) == set(tensors)
    for name, array in tensors.items():
        assert tuple(loaded[name].shape) == array.shape
        assert str(loaded[name].dtype) == f"torch.{array.dtype.name}"
        flat = loaded[name].reshape(-1).contiguous()
        assert flat.view(torch.uint8).numpy().tobytes() == array.tobytes()


def test_library_writes_what_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    expected = all_tensors()
    tensors = {
        name: torch.frombuffer(
            bytearray(array.tobytes()), dtype=getattr(torch, array.dtype.name)
        ).reshape(array.shape)
        if array.size
        else torch.empty(array.shape, dtype=getattr(torch, array.dtype.name))
        for name, array in expected.items()
    }
    library.save_file(tensors, tmp_path / "m.safetensors", metadata={"a": "b"})
    with SafetensorsCheckpoint(tmp_path / "m.safetensors") as checkpoint:
        assert checkpoint.metadata == {"a": "b"}
        assert set(checkpoint.tensors) == set(expected)
        for name, array in expected.items():
            found = checkpoint.read(name)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()


def test_bytes_are_those_of_the_library(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    names = {f"{row.name}-{tail}" for row in ROWS for tail in ("b", "a", '"é\n\x1f\x7f\\/')}
    tensors = {name: torch.zeros(3, dtype=getattr(torch, name.split("-")[0])) for name in names}
    infos = [checked_info(n, np.dtype(_numpy(n.split("-")[0])), (3,)) for n in sorted(names)]
    target = io.BytesIO()
    write_checkpoint(
        target, infos, lambda n: np.zeros(3, _numpy(n.split("-")[0])), format="safetensors"
    )
    assert target.getvalue() == library.save(tensors)


def _numpy(name: str) -> np.dtype[Any]:
    return next(row.numpy for row in ROWS if row.name == name)


def test_file_without_tensors(tmp_path: Path) -> None:
    save(tmp_path / "m.safetensors", {})
    assert (tmp_path / "m.safetensors").read_bytes() == raw(b"{}      ")
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        assert (checkpoint.tensors, checkpoint.metadata) == ({}, {})


def test_source_order_is_that_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    header = {"z": entry(offsets=(8, 16)), "a": entry(offsets=(0, 8))}
    path.write_bytes(raw(json.dumps(header).encode(), struct.pack("<4f", 1, 2, 3, 4)))
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint.tensors) == ["z", "a"]
        assert checkpoint.read("z").tolist() == [3, 4]


def test_aligned_tensors_are_views_and_misaligned_ones_copies(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for padding, owner in ((b"", False), (b" ", True)):
        header = json.dumps({"a": entry()}).encode()
        path.write_bytes(raw(header.ljust(len(header) + -len(header) % 8) + padding, b"\1" * 8))
        with open_checkpoint(path) as checkpoint:
            found = checkpoint.read("a")
            assert found.flags.aligned and found.tobytes() == b"\1" * 8
            base = found
            while isinstance(base, np.ndarray) and base.base is not None:
                base = base.base
            assert isinstance(base, np.ndarray) == owner


def test_arrays_outlive_the_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "m.safetensors", {"a": np.arange(5.0)})
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        found = checkpoint.read("a")
    assert found.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError):
        checkpoint.read("a")


def test_tied_tensors_are_written_in_full(tmp_path: Path) -> None:
    array = np.arange(4.0)
    source = MappingCheckpoint({"a": array, "b": array})
    assert source.ties == {"b": "a"}
    infos = list(source.tensors.values())
    write_checkpoint(tmp_path / "m.safetensors", infos, source.read, ties=source.ties)
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        assert checkpoint.read("a").tolist() == checkpoint.read("b").tolist() == array.tolist()


def test_one_tensor_is_read_at_a_time(tmp_path: Path) -> None:
    reads: list[str] = []

    def read(name: str) -> np.ndarray:
        reads.append(name)
        return np.zeros(2, np.float32)

    infos = [checked_info(name, np.dtype("f4"), (2,)) for name in "cab"]
    write_checkpoint(tmp_path / "m.safetensors", infos, read)
    assert sorted(reads) == ["a", "b", "c"]


def test_read_that_breaks_its_promise_is_not_written(tmp_path: Path) -> None:
    infos = [checked_info("a", np.dtype("f4"), (2,))]
    with pytest.raises(ValueError, match="announced"):
        write_checkpoint(tmp_path / "m.safetensors", infos, lambda _: np.zeros(3, np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, dtype, cause",
    [("a", np.complex128, "no complex128"), ("__metadata__", np.float32, "reserves")],
)
def test_what_the_format_lacks_is_refused_before_a_file_is_touched(
    tmp_path: Path, name: str, dtype: type, cause: str
) -> None:
    target = tmp_path / "m.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(UnsupportedError, match=cause) as caught:
        save(target, {name: np.zeros(2, dtype)})
    assert (caught.value.tensor, caught.value.file) == (name, str(target))
    assert target.read_bytes() == b"old"


def dumped(value: object) -> bytes:
    return raw(json.dumps(value).encode(), bytes(8))


def test_header_over_the_limit_is_not_written(tmp_path: Path, monkeypatch) -> None:
    save(tmp_path / "small.safetensors", {"a": np.zeros(1)})
    monkeypatch.setattr("dcz.formats.checkpoints.safetensors.MAX_HEADER_BYTES", 64)
    with pytest.raises(UnsupportedError, match="can't exceed 64 bytes"):
        save(tmp_path / "m.safetensors", {"a" * 50: np.zeros(1)})
    assert os.listdir(tmp_path) == ["small.safetensors"]


FAULTS = {
    "empty file": (b"", "too short"),
    "seven bytes": (bytes(7), "too short"),
    "no header": (bytes(8), "does not start"),
    "header past the end": (struct.pack("<Q", 9) + b"{}", "past the end"),
    "header over the limit": (struct.pack("<Q", 100_000_001) + b"{}", "over the format's"),
    "header length of all ones": (b"\xff" * 8 + b"{}", "over the format's"),
    "leading space": (raw(b" {}"), "does not start"),
    "list": (raw(b"[]"), "does not start"),
    "not JSON": (raw(b"{nothing}"), "not valid JSON"),
    "text after the object": (raw(b"{} {}"), "not valid JSON"),
    "not UTF-8": (raw(b'{"\xff":1}'), "not UTF-8"),
    "nested too deep": (raw(b'{"a":' + b"[" * 200_000), "not valid JSON"),
    "number too long": (raw(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "name twice": (raw(b'{"a":1,"a":2}'), "'a' occurs twice"),
    "field twice": (raw(b'{"a":{"dtype":"F32","dtype":"F32"}}'), "'dtype' occurs twice"),
    "name not Unicode": (dumped({"\ud800": entry()}), "not valid Unicode"),
    "metadata list": (dumped({"__metadata__": []}), "strings to strings"),
    "metadata number": (dumped({"__metadata__": {"a": 1}}), "strings to strings"),
    "metadata not Unicode": (dumped({"__metadata__": {"a": "\ud800"}}), "not valid Unicode"),
    "entry no object": (dumped({"a": 1}), "exactly dtype"),
    "field missing": (dumped({"a": {"dtype": "F32", "shape": [2]}}), "exactly dtype"),
    "field too many": (dumped({"a": entry() | {"more": 1}}), "exactly dtype"),
    "dtype no string": (dumped({"a": entry(dtype=7)}), "dtype is not a string"),
    "dtype unknown": (dumped({"a": entry(dtype="F31")}), "'F31' is not supported"),
    "shape no list": (dumped({"a": entry(shape=2)}), "shape is not a list"),
    "shape negative": (dumped({"a": entry(shape=[-1, -2])}), "shape is not a list"),
    "shape of bool": (dumped({"a": entry(shape=[True, 2])}), "shape is not a list"),
    "shape of float": (dumped({"a": entry(shape=[2.0])}), "shape is not a list"),
    "shape overflows": (dumped({"a": entry(shape=[2**32, 2**32])}), "address space"),
    "empty shape overflows": (dumped({"a": entry(shape=[0, 2**40, 2**40])}), "address space"),
    "too many dimensions": (dumped({"a": entry(shape=[1] * 32 + [2])}), "33 dimensions"),
    "offsets too few": (dumped({"a": entry(offsets=[0])}), "a begin and an end"),
    "offsets too many": (dumped({"a": entry(offsets=[0, 8, 8])}), "a begin and an end"),
    "offsets reversed": (dumped({"a": entry(offsets=[8, 0])}), "a begin and an end"),
    "offsets negative": (dumped({"a": entry(offsets=[-8, 0])}), "data_offsets is not a list"),
    "size too small": (dumped({"a": entry(offsets=[0, 7])}), "shape and dtype need 8"),
    "size too large": (dumped({"a": entry(shape=[1])}), "shape and dtype need 4"),
    "hole at the start": (dumped({"a": entry(shape=[1], offsets=[4, 8])}), "hole"),
    "hole between": (
        dumped({"a": entry("U8", [1], [0, 1]), "b": entry("U8", [6], [2, 8])}),
        "'b'.*hole",
    ),
    "overlap": (
        dumped({"a": entry("U8", [5], [0, 5]), "b": entry("U8", [4], [4, 8])}),
        "'b'.*overlap",
    ),
    "same bytes twice": (dumped({"a": entry(), "b": entry()}), "'b'.*overlap"),
    "empty tensor in a hole": (
        dumped({"a": entry(), "b": entry("U8", [0], [3, 3])}),
        "overlap|hole",
    ),
    "past the end": (dumped({"a": entry("U8", [9], [0, 9])}), "past the end of the data"),
    "bytes and no tensor": (dumped({}), "8 bytes belong to no tensor"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_file_is_refused_with_the_cause(tmp_path: Path, fault: str) -> None:
    content, cause = FAULTS[fault]
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises((InputError, UnsupportedError), match=f"(?s){cause}") as caught:
        open_checkpoint(path)
    assert caught.value.file == str(path)
    assert str(path) in str(caught.value)


def test_padding_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(dumped({"a": entry("U8", [7], [0, 7])}))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.read("a").size == 7
        assert [part.what for part in checkpoint.left_out] == ["1 bytes of no tensor"]
    with pytest.warns(UserWarning, match=r"m\.safetensors: left out were end of file$"):
        pack(path, tmp_path / "m.dcz")
    index = {"weight_map": {"a": "m.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    with open_checkpoint(tmp_path / "m.safetensors.index.json") as checkpoint:
        assert [part.key for part in checkpoint.left_out] == ["m.safetensors: end of file"]


def test_every_prefix_of_a_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "whole", {"a": np.arange(3.0), "b": np.zeros(2, np.int8)}, format="safetensors")
    content = (tmp_path / "whole").read_bytes()
    for length in range(len(content)):
        (tmp_path / "m.safetensors").write_bytes(content[:length])
        with pytest.raises(InputError):
            open_checkpoint(tmp_path / "m.safetensors")


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_checkpoint(tmp_path / "m.safetensors")


class TestSharded:
    def build(self, directory: Path) -> Path:
        save(directory / "m-1.safetensors", {"b": np.arange(3.0)}, metadata={"format": "pt"})
        save(directory / "m-2.safetensors", {"a": np.zeros(2, np.int8), "c": np.ones(1)})
        return self.index(
            directory, {"c": "m-2.safetensors", "b": "m-1.safetensors", "a": "m-2.safetensors"}
        )

    def index(self, directory: Path, weight_map: object) -> Path:
        path = directory / "m.safetensors.index.json"
        path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
        return path

    def test_all_shards_are_read_in_the_order_of_the_index(self, tmp_path: Path) -> None:
        with open_checkpoint(self.build(tmp_path)) as checkpoint:
            assert list(checkpoint.tensors) == ["c", "b", "a"]
            assert checkpoint.read("b").tolist() == [0, 1, 2]
            assert checkpoint.read("c").tolist() == [1]
            assert checkpoint.metadata == {"format": "pt"}
            assert checkpoint.format == "safetensors-index"

    def test_equal_tensors_of_several_shards_are_stored_once(self, tmp_path: Path) -> None:
        values = np.arange(70_000, dtype=np.float32)
        save(tmp_path / "m-1.safetensors", {"a": values, "c": values[::-1].copy()})
        save(tmp_path / "m-2.safetensors", {"b": values})
        shards = {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}
        dcz.pack(self.index(tmp_path, shards), tmp_path / "m.dcz")
        with dcz.open(tmp_path / "m.dcz") as archive:
            assert archive.frames == 2
            assert archive.size == (tmp_path / "m.dcz").stat().st_size
            assert np.array_equal(archive["a"], values)
            assert np.array_equal(archive["b"], values)
            assert np.array_equal(archive["c"], values[::-1])

    @pytest.mark.parametrize(
        "shard", ["../m-1.safetensors", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "x\0"]
    )
    def test_shard_outside_the_directory_is_refused(self, tmp_path: Path, shard: str) -> None:
        path = self.index(tmp_path, {"a": shard})
        with pytest.raises(InputError, match="not a plain file name"):
            open_checkpoint(path)

    def test_link_out_of_the_directory_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret").mkdir()
        save(tmp_path / "secret" / "m.safetensors", {"a": np.zeros(1)})
        (tmp_path / "m-1.safetensors").symlink_to("secret/m.safetensors")
        with pytest.raises(InputError, match="link out of"):
            open_checkpoint(self.index(tmp_path, {"a": "m-1.safetensors"}))

    def test_cache_of_links_into_one_directory_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "blobs").mkdir()
        (tmp_path / "snapshot").mkdir()
        self.build(tmp_path / "blobs")
        for blob in (tmp_path / "blobs").iterdir():
            (tmp_path / "snapshot" / blob.name).symlink_to(f"../blobs/{blob.name}")
        with open_checkpoint(tmp_path / "snapshot" / "m.safetensors.index.json") as checkpoint:
            assert checkpoint.read("b").tolist() == [0, 1, 2]

    def test_missing_shard_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"'gone\.safetensors' is missing"):
            open_checkpoint(self.index(tmp_path, {"a": "gone.safetensors"}))

    def test_tensor_that_is_not_in_its_shard_is_refused(self, tmp_path: Path) -> None:
        self.build(tmp_path)
        with pytest.raises(InputError, match=r"'d'.*not in m-1") as caught:
            open_checkpoint(self.index(tmp_path, {"b": "m-1.safetensors", "d": "m-1.safetensors"}))
        assert caught.value.tensor == "d"

    def test_tensor_that_is_not_in_the_index_is_refused(self, tmp_path: Path) -> None:
        self.build(tmp_path)
        with pytest.raises(InputError, match="does not put it"):
            open_checkpoint(self.index(tmp_path, {"a": "m-2.safetensors"}))

    def test_index_over_the_limit_is_refused(self, tmp_path: Path, monkeypatch) -> None:
        path = self.build(tmp_path)
        monkeypatch.setattr("dcz.formats.checkpoints.sharded.MAX_INDEX_BYTES", 20)
        with pytest.raises(InputError, match="over 20 bytes"):
            open_checkpoint(path)

    def test_damaged_shard_is_named(self, tmp_path: Path) -> None:
        path = self.build(tmp_path)
        (tmp_path / "m-1.safetensors").write_bytes(b"")
        with pytest.raises(InputError) as caught:
            open_checkpoint(path)
        assert caught.value.file == str(tmp_path / "m-1.safetensors")

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"weight_map": {"a": 1}}', '{"a":1,"a":2}']
    )
    def test_malformed_index_is_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "m.safetensors.index.json"
        path.write_text(content)
        with pytest.raises(InputError):
            open_checkpoint(path)
