"""Files made to harm, each checksum right: a typed error that names the cause, and quickly."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zstandard

import dcz
from dcz.formats.container.container import Container

Read = Callable[[bytes], dict[str, np.ndarray]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "hostile.dcz"
        path.write_bytes(data)
        try:
            return dcz.load_file(path, jobs=1)
        except dcz.DczError as error:
            assert error.file == str(path)
            raise

    return read


def refused(
    read: Read, data: bytes, cause: str, kind: type[dcz.DczError] = dcz.CorruptError
) -> None:
    with pytest.raises(kind, match=cause) as caught:
        read(data)
    assert isinstance(caught.value, dcz.DczError)


def test_the_builder_makes_good_files(read: Read, dczformat: ModuleType) -> None:
    content = read(dczformat.build(dczformat.stored({"a": b"123", "ab": b"45", "": b""})))
    assert {name: array.tobytes() for name, array in content.items()} == {
        "a": b"123",
        "ab": b"45",
        "": b"",
    }


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**32 - 1])
def test_index_lengths_that_do_not_fit(read: Read, dczformat: ModuleType, length: int) -> None:
    good = dczformat.build(dczformat.stored({"a": b"123"}))
    index = good[11:-12]
    refused(read, dczformat.seal(b"123", index, length=length), "index|frame|tensor|metadata")


@pytest.mark.parametrize("size", [2**20, 2**32, 2**63, 2**64 - 1])
def test_counts_beyond_the_file(read: Read, dczformat: ModuleType, size: int) -> None:
    huge = dczformat.varint(size)
    refused(read, dczformat.seal(b"", huge), "frame count")
    refused(read, dczformat.seal(b"", huge + b"\0\0"), "frame count")
    refused(read, dczformat.seal(b"", b"\0" + huge), "tensor|limit", dcz.DczError)
    refused(read, dczformat.seal(b"", b"\0\0" + huge), "metadata|limit", dcz.DczError)
    refused(read, dczformat.seal(b"", b"\0\0" + huge + b"\1{"), "metadata|limit", dcz.DczError)
    refused(read, dczformat.seal(b"", b"\0\0\x09" + huge), "metadata")
    refused(read, dczformat.seal(b"", b"\0\1\0" + huge), "tensor name")
    refused(read, dczformat.seal(b"", b"\0\1" + huge), "tensor name prefix")


@pytest.mark.parametrize("delta", [-3, -1, 1, 2**31, 2**63 - 1, 2**64 - 4])
def test_frame_lengths_that_do_not_fill_the_file(
    read: Read, dczformat: ModuleType, delta: int
) -> None:
    file = dczformat.stored({"a": b"123", "b": b"456"})
    file.frames[1].length = 3 + delta
    refused(read, dczformat.build(file), "frame|frames|before the index")


def test_frame_lengths_whose_sum_overflows(read: Read, dczformat: ModuleType) -> None:
    file = dczformat.stored({"a": b"123", "b": b"456"})
    file.frames[0].length = 2**64 - 1
    file.frames[1].length = 7
    refused(read, dczformat.build(file), "frame 0")


def test_a_gap_between_frames_and_index(read: Read, dczformat: ModuleType) -> None:
    file = dczformat.stored({"a": b"123"})
    refused(read, dczformat.seal(b"1234", dczformat.build_index(file)), "belong to no frame")
    refused(read, dczformat.seal(b"", dczformat.build_index(file)), "do not fit")


def test_frames_without_tensors_and_tensors_without_frames(
    read: Read, dczformat: ModuleType
) -> None:
    file = dczformat.stored({"a": b"123", "b": b"456"})
    file.tensors[1].frame = 0
    refused(read, dczformat.build(file), "frame 1")
    file.tensors[1].frame = 2
    refused(read, dczformat.build(file), "frame number")
    file.tensors[1].frame = 2**64 - 1
    refused(read, dczformat.build(file), "frame number")
    refused(read, dczformat.build(dczformat.File([], file.tensors[:1])), "frame number")


def test_members_of_different_dtypes(read: Read, dczformat: ModuleType) -> None:
    file = dczformat.stored({"a": b"123", "b": b"456"})
    file.tensors[1].frame = 0
    file.tensors[1].dtype = 10
    del file.frames[1]
    refused(read, dczformat.build(file), "frame 0 does not hold tensors of one dtype")


def test_duplicate_names(read: Read, dczformat: ModuleType) -> None:
    file = dczformat.stored({"name": b"1", "other": b"2"})
    file.tensors[1].name = b"name"
    for prefix in (0, 2, 4):
        file.tensors[1].prefix = prefix
        refused(read, dczformat.build(file), "used twice")


def test_name_prefixes_longer_than_the_name_before(read: Read, dczformat: ModuleType) -> None:
    file = dczformat.stored({"name": b"1", "other": b"2"})
    good = dczformat.build_index(file)
    bad = good.replace(b"\0\5other", b"\5\5other")
    assert bad != good
    refused(read, dczformat.seal(b"12", bad), "prefix")


@pytest.mark.parametrize(
    "name", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"]
)
def test_names_that_are_not_utf8(read: Read, dczformat: ModuleType, name: bytes) -> None:
    file = dczformat.stored({"x": b"1"})
    file.tensors[0].name = name
    refused(read, dczformat.build(file), "UTF-8")


def test_a_name_may_share_part_of_a_character(read: Read, dczformat: ModuleType) -> None:
    assert list(read(dczformat.build(dczformat.stored({"ä": b"1", "å": b"2"})))) == ["ä", "å"]


def test_aliases_may_only_point_back_to_stored_tensors(read: Read, dczformat: ModuleType) -> None:
    def alias(*numbers: int) -> bytes:
        file = dczformat.stored({"x": b"1"})
        for i, number in enumerate(numbers):
            file.tensors.append(dczformat.Tensor(b"alias%d" % i, 2 + i % 2, alias=number))
        return dczformat.build(file)

    assert len(read(alias(0, 0, 0))) == 4
    refused(read, alias(1), "alias")  # itself
    refused(read, alias(2, 0), "alias")  # a later one
    refused(read, alias(0, 1), "alias of an alias")
    refused(read, alias(2**64 - 1), "alias")
    first = dczformat.File(tensors=[dczformat.Tensor(b"x", 2, alias=0)])
    refused(read, dczformat.build(first), "alias")


@pytest.mark.parametrize("kind", [2, 3])
def test_reserved_bits_of_an_alias(read: Read, dczformat: ModuleType, kind: int) -> None:
    for code in (1, 11, 32, 63):
        file = dczformat.stored({"x": b"1"})
        file.tensors.append(dczformat.Tensor(b"y", kind, dtype=code))
        refused(read, dczformat.build(file), "reserved")


@pytest.mark.parametrize("code", [0, 21, 62, 63])
def test_unknown_dtypes_and_coders_need_a_newer_release(
    read: Read, dczformat: ModuleType, code: int
) -> None:
    file = dczformat.stored({"x": b"1"})
    file.tensors[0].dtype = code
    refused(read, dczformat.build(file), f"dtype code {code}", dcz.VersionError)
    file = dczformat.stored({"x": b"1"})
    file.frames[0].coder = max(code, 20)
    refused(read, dczformat.build(file), f"coder {max(code, 20)}", dcz.VersionError)


@pytest.mark.parametrize(
    "shape",
    [
        [2**63],
        [2**64 - 1],
        [2**32, 2**31],
        [2**32, 2**32],
        [2**16] * 4,
        [2**63, 2],
        [3] * 40,
        [2**62, 0, 2**62],
        [0] + [2**64 - 1] * 3,
        [2**40 + 1],
    ],
)
def test_sizes_that_overflow(read: Read, dczformat: ModuleType, shape: list[int]) -> None:
    refused(read, dczformat.one(0, b"1", shape), "shape|dimensions|size", dcz.DczError)
    refused(read, dczformat.one(2, b"1", shape, dtype=20), "shape|dimensions|size", dcz.DczError)


def test_too_many_dimensions(read: Read, dczformat: ModuleType) -> None:
    assert read(dczformat.one(0, b"1", [1] * 32, decoded=dczformat.digest(b"1")))["t"].ndim == 32
    refused(read, dczformat.one(0, b"1", [1] * 65), "dimensions")
    refused(read, dczformat.one(0, b"1", [1] * 33), "dimensions", dcz.DczError)


@pytest.mark.parametrize("value", [-1.0, -0.5, float("inf"), float("-inf"), float("nan")])
def test_relative_errors_out_of_range(read: Read, dczformat: ModuleType, value: float) -> None:
    file = dczformat.stored({"x": b"1"})
    file.tensors[0].kind = 1
    file.tensors[0].error = struct.pack("<f", value)
    file.error = struct.pack("<d", 0)
    refused(read, dczformat.build(file), "relative error")
    file.tensors[0].error = struct.pack("<f", 0)
    assert len(read(dczformat.build(file))) == 1
    file.error = struct.pack("<d", value)
    refused(read, dczformat.build(file), "relative error")


def test_varints_have_one_form_only(read: Read, dczformat: ModuleType) -> None:
    for padded in (b"\x80\0", b"\x80\x80\0", b"\x80" * 9 + b"\0"):
        refused(read, dczformat.seal(b"", padded + b"\0\0"), "longer than it needs")
    refused(read, dczformat.seal(b"", b"\x80" * 10 + b"\1"), "10 bytes|outside")
    refused(read, dczformat.seal(b"", b"\xff" * 9 + b"\2"), "outside|frame count")


def test_bytes_after_the_index(read: Read, dczformat: ModuleType) -> None:
    refused(read, dczformat.seal(b"", b"\0\0\0\0"), "too many")
    assert read(dczformat.seal(b"", b"\0\0\0")) == {}


def test_a_group_larger_than_allowed(read: Read, dczformat: ModuleType) -> None:
    def group(sizes: list[int]) -> bytes:
        data = bytes(sum(sizes))
        file = dczformat.File([dczformat.Frame(0, data)])
        for i, size in enumerate(sizes):
            file.tensors.append(
                dczformat.Tensor(b"%d" % i, 0, 11, [size], 0, dczformat.digest(bytes(size)))
            )
        return dczformat.build(file)

    assert len(read(group([65535, 1]))) == 2
    assert len(read(group([65537]))) == 1
    refused(read, group([65536, 1]), "too large for a frame of several")
    refused(read, group([65537, 0]), "too large for a frame of several")


def test_many_members_of_a_group_cost_one_decoding_each_at_most(
    tmp_path: Path, dczformat: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = 3000
    file = dczformat.File([dczformat.Frame(0, bytes(members))])
    seal = dczformat.digest(b"\0")
    for i in range(members):
        file.tensors.append(dczformat.Tensor(b"%d" % i, 0, 11, [], 0, seal))
    path = tmp_path / "group.dcz"
    path.write_bytes(dczformat.build(file))
    opened = []
    open_frame = Container.open_frame

    def counted(self: Container, frame: int) -> object:
        opened.append(frame)
        return open_frame(self, frame)

    monkeypatch.setattr(Container, "open_frame", counted)
    assert len(dcz.load_file(path, jobs=1)) == members
    assert len(opened) < 10


def with_metadata(dczformat: ModuleType, raw: bytes, *, packed: bytes | None = None) -> bytes:
    stored = raw if packed is None else packed
    metadata = dczformat.varint(len(raw)) + dczformat.varint(len(stored)) + stored
    return dczformat.build(dczformat.File(metadata=metadata))


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b"{",
        b'{"a":1}',
        b'{"a":null}',
        b'{"a":{"b":"c"}}',
        b'{"a":"1","a":"2"}',
        b'{"a":"1"} x',
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"a":' + b"1" * 10_000 + b"}",
        '{"a":"b"}'.encode("utf-16"),
        '{"a":"b"}'.encode("utf-32-le"),
        b'\xef\xbb\xbf{"a":"b"}',
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_metadata_that_are_not_an_object_of_strings(
    read: Read, dczformat: ModuleType, raw: bytes
) -> None:
    refused(read, with_metadata(dczformat, raw), "metadata")


def test_metadata_hold_no_half_characters(read: Read, dczformat: ModuleType) -> None:
    refused(read, with_metadata(dczformat, rb'{"a":"\ud800"}'), "metadata")


def test_compressed_metadata_of_another_size(read: Read, dczformat: ModuleType) -> None:
    raw = json.dumps({"key": "x" * 1000}).encode()
    packed = zstandard.compress(raw)
    assert read(with_metadata(dczformat, raw, packed=packed)) == {}
    refused(read, with_metadata(dczformat, raw + b" ", packed=packed), "metadata")
    refused(read, with_metadata(dczformat, raw[:-1], packed=packed), "metadata")
    refused(read, with_metadata(dczformat, raw, packed=packed[:-1]), "metadata")
    refused(read, with_metadata(dczformat, raw, packed=packed + b"\0"), "metadata")
    refused(read, with_metadata(dczformat, raw, packed=packed + packed), "metadata")
    refused(read, with_metadata(dczformat, raw, packed=b"\0" * 30), "metadata")
    nameless = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    refused(read, with_metadata(dczformat, raw, packed=nameless), "metadata")
    refused(read, with_metadata(dczformat, raw, packed=raw + b"  "), "metadata")


def test_metadata_that_explode(read: Read, dczformat: ModuleType) -> None:
    bomb = zstandard.compress(b" " * 2**27)
    metadata = dczformat.varint(2**27) + dczformat.varint(len(bomb)) + bomb
    refused(read, dczformat.build(dczformat.File(metadata=metadata)), "metadata", dcz.LimitError)


@pytest.mark.parametrize("size", [0, 1, 3, 5, 8, 1000])
def test_stored_frames_of_another_size(read: Read, dczformat: ModuleType, size: int) -> None:
    refused(read, dczformat.one(0, bytes(size), [2, 2]), "stored frame")


def test_the_right_bytes_under_the_wrong_digest(read: Read, dczformat: ModuleType) -> None:
    refused(read, dczformat.one(0, b"1234", [4], decoded=1), "digest", dcz.ChecksumError)


PLANES = {
    "no bytes": (b"", 4),
    "unknown transform": (b"\2\0" + bytes(4), 4),
    "rotated bytes": (b"\1\0" + bytes(4), 4),
    "unknown method": (b"\0\6" + bytes(4), 4),
    "raw, too short": (b"\0\0" + bytes(3), 4),
    "raw, too long": (b"\0\0" + bytes(5), 4),
    "constant, cut off": (b"\0\1", 4),
    "constant, too long": (b"\0\1aa", 4),
    "a plane too many": (b"\0\1a\1a", 4),
    "no plane for nothing": (b"\0\1a", 0),
    "size of 0": (b"\0\2\0", 4),
    "size over n": (b"\0\2\5" + bytes(5), 4),
    "huge size": (b"\0\2" + b"\xff" * 9 + b"\1", 4),
    "alphabet of 0": (b"\0\2\1\0", 4),
    "alphabet over 256": (b"\0\2\3\x81\x02\0", 8),
    "code of another size": (b"\0\2\2\1\0", 4),
}


@pytest.mark.parametrize("case", PLANES)
def test_broken_planes(read: Read, dczformat: ModuleType, case: str) -> None:
    payload, numel = PLANES[case]
    refused(read, dczformat.one(1, payload, [numel]), "plane|frame")


# Four elements of two bytes, their planes 01 42 C3 80 and 78 79 78 78: the format page's example.
LOW, JOINED = b"\4\6\x81\x30\0", b"\5\x78\7\6\x3b\x5c\x1c\x2e\1\x9c"
PAIRS = {
    "low bits of 0": b"\0\4\0" + JOINED,
    "low bits of 8": b"\0\4\x08" + bytes(4) + JOINED,
    "low bits, cut off": b"\0\4\6\x81\x30",
    "padding of low bits": b"\0\4\5\x81\x30\x10" + JOINED,
    "low bits alone": b"\0" + LOW + b"\1a",
    "low bits above": b"\0\1a" + LOW,
    "low bits twice": b"\0" + LOW + LOW,
    "joined alone": b"\0\1a" + JOINED,
    "joined first": b"\0" + JOINED + LOW,
    "size of 0": b"\0" + LOW + b"\5\x78\0",
    "size over 2 n": b"\0" + LOW + b"\5\x78\x09" + bytes(9),
    "alphabet beyond bytes": b"\0" + LOW + b"\5\xff" + JOINED[2:],
}


def test_pairs_of_the_format_page(read: Read, dczformat: ModuleType) -> None:
    payload = b"\0" + LOW + JOINED
    array = np.frombuffer(bytes.fromhex("01784279c3788078"), np.uint16)
    file = dczformat.one(1, payload, [4], dtype=13, decoded=dczformat.digest(array.tobytes()))
    assert read(file)["t"].tolist() == array.tolist()


@pytest.mark.parametrize("case", PAIRS)
def test_broken_pairs(read: Read, dczformat: ModuleType, case: str) -> None:
    refused(read, dczformat.one(1, PAIRS[case], [4], dtype=13), "plane|frame")


def test_rotation_needs_words(read: Read, dczformat: ModuleType) -> None:
    payload = b"\1" + b"\1a" * 16
    refused(read, dczformat.one(1, payload, [1], dtype=20), "transform")


def test_planes_of_zstandard_frames_that_lie(read: Read, dczformat: ModuleType) -> None:
    data = bytes(1000)

    def plane(packed: bytes, numel: int = 1000) -> bytes:
        payload = b"\0\3" + dczformat.varint(len(packed)) + packed
        return dczformat.one(1, payload, [numel], decoded=dczformat.digest(bytes(numel)))

    packed = zstandard.compress(data)
    assert not read(plane(packed))["t"].any()
    nameless = zstandard.ZstdCompressor(write_content_size=False).compress(data)
    skippable = b"\x50\x2a\x4d\x18\4\0\0\0abcd"
    for numel in (999, 1001, 2**20):
        refused(read, plane(packed, numel), "plane")
    for bad in (
        zstandard.compress(data + b"\0"),
        zstandard.compress(bytes(2**22)),
        nameless,
        packed[:-1],
        packed + b"\0",
        packed + packed,
        packed + skippable,
        skippable + packed,
        skippable,
        b"no zstandard",
    ):
        refused(read, plane(bad), "plane")


def dense(
    dczformat: ModuleType,
    *,
    book: bytes = b"\0\1\2\3",
    lengths: list[int] | None = None,
    data: bytes | None = None,
    indices: list[int] | None = None,
    numel: int = 4,
) -> bytes:
    lengths = lengths if lengths is not None else [2, 2, 2, 2]
    indices = indices if indices is not None else [3, 0, 1, 2]
    if data is None:
        coded = dczformat.encode_stream(indices, lengths)
        data = dczformat.varint(len(coded)) + coded
    payload = dczformat.varint(len(book)) + book + dczformat.encode_table(lengths) + data
    digest = dczformat.digest(bytes(indices))
    file: bytes = dczformat.one(2, payload, [numel], decoded=digest)
    return file


def test_dense_frames_made_by_hand_decode(read: Read, dczformat: ModuleType) -> None:
    assert read(dense(dczformat))["t"].tolist() == [3, 0, 1, 2]
    unequal = dense(dczformat, lengths=[1, 2, 3, 3])
    assert read(unequal)["t"].tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize(
    "lengths",
    [
        [0, 0, 0, 0],
        [1, 0, 0, 1, 1],
        [1, 1, 1, 1],
        [2, 2, 2, 0],
        [2, 2, 2, 3],
        [2, 0, 0, 0],
        [15, 0, 0, 0],
        [1, 2, 3, 4],
        [15] * 4,
        [1, 2, 2],
        [1, 2, 3, 4, 4],
        [3] * 8,
    ],
    ids=str,
)
def test_code_lengths_that_are_no_complete_code(
    read: Read, dczformat: ModuleType, lengths: list[int]
) -> None:
    refused(read, dense(dczformat, lengths=lengths, data=b"\1\0"), "code lengths|alphabet")


def test_code_lengths_beyond_15_and_below_0(read: Read, dczformat: ModuleType) -> None:
    up = dczformat.varint(4) + dczformat.pack_bits([1, 1, 1, 1, 1, 1, 1, 1, 0])
    down = dczformat.varint(4) + dczformat.pack_bits([1, 1, 1, 0, 0, 0, 0, 1, 1, 0])
    for table in (up + b"\0" * 3, down + b"\0" * 3):
        payload = b"\4\0\1\2\3" + table + b"\1\0"
        refused(read, dczformat.one(2, payload, [4]), "code lengths")


def test_code_tables_padded_with_ones_or_cut_off(read: Read, dczformat: ModuleType) -> None:
    plain = dczformat.varint(4) + b"\0"  # four lengths of ceil(log2 4) = 2
    stream = b"\1" + dczformat.encode_stream([3, 0, 1, 2], [2] * 4)
    digest = dczformat.digest(bytes([3, 0, 1, 2]))
    book = b"\4\0\1\2\3"
    assert read(dczformat.one(2, book + plain + stream, [4], decoded=digest))
    padded = dczformat.varint(4) + b"\x10"
    refused(read, dczformat.one(2, book + padded + stream, [4], decoded=digest), "padding")
    refused(read, dczformat.one(2, book + b"\4", [4]), "code lengths")


@pytest.mark.parametrize("alphabet", [0, 1, 3, 5, 4096, 4097, 2**64 - 1])
def test_alphabets_that_are_not_the_codebooks(
    read: Read, dczformat: ModuleType, alphabet: int
) -> None:
    payload = b"\4\0\1\2\3" + dczformat.varint(alphabet) + bytes(600)
    refused(read, dczformat.one(2, payload, [4]), "alphabet|code lengths")


@pytest.mark.parametrize("levels", [5, 65536, 65537, 2**63, 2**64 - 1])
def test_codebooks_larger_than_the_frame(read: Read, dczformat: ModuleType, levels: int) -> None:
    payload = dczformat.varint(levels) + b"\0\1\2\3"
    refused(read, dczformat.one(2, payload, [4]), "codebook")
    refused(read, dczformat.one(3, payload, [4]), "codebook")


def test_zero_takes_one_of_a_sparse_frame_s_levels(read: Read, dczformat: ModuleType) -> None:
    payload = dczformat.varint(65536) + bytes(65536)
    refused(read, dczformat.one(3, payload, [4]), "codebook levels")


def test_streams_of_another_length(read: Read, dczformat: ModuleType) -> None:
    coded = dczformat.encode_stream([3, 0, 1, 2], [2] * 4)
    for data in (b"\0", b"\1", b"\2" + coded + b"\0", b"\x81\0" + coded, b"\xff" * 9 + b"\1"):
        refused(read, dense(dczformat, data=data), "index|frame")
    refused(read, dense(dczformat, data=b"\1" + coded + b"\0"), "too many")


def test_streams_padded_with_ones(read: Read, dczformat: ModuleType) -> None:
    coded = dczformat.encode_stream([3, 0, 1], [2] * 4)
    good = dense(dczformat, data=b"\1" + coded, indices=[3, 0, 1], numel=3)
    assert read(good)["t"].tolist() == [3, 0, 1]
    for bit in (6, 7):
        bad = bytes([coded[0] | 1 << bit])
        refused(read, dense(dczformat, data=b"\1" + bad, indices=[3, 0, 1], numel=3), "index")


def test_eight_streams_that_do_not_end_together(read: Read, dczformat: ModuleType) -> None:
    numel = 4096
    sizes = [128] * 8

    def eight(sizes: list[int], size: int = 1024) -> bytes:
        data = struct.pack("<8H", *sizes) + bytes(size)
        return dense(dczformat, data=data, indices=[0] * numel, numel=numel)

    assert not read(eight(sizes))["t"].any()
    refused(read, eight([127, 129, *sizes[2:]]), "index")
    refused(read, eight([128] * 7 + [129], 1025), "index")
    refused(read, eight([128] * 7 + [127], 1023), "index")
    refused(read, eight([0] * 8, 0), "index")
    refused(read, eight([65535] * 8, 1024), "index")
    refused(read, eight(sizes, 1023), "index")
    refused(read, eight(sizes, 1025), "too many")


def test_indices_beyond_a_members_codebook(read: Read, dczformat: ModuleType) -> None:
    table = dczformat.encode_table([2, 2, 2, 2])
    coded = dczformat.encode_stream([3, 0, 1, 2], [2] * 4)
    payload = b"\4\0\1\2\3" + b"\2\0\1" + table + b"\1" + coded
    file = dczformat.File([dczformat.Frame(2, payload)])
    for name in (b"a", b"b"):
        file.tensors.append(dczformat.Tensor(name, 0, 11, [2], 0, 0))
    refused(read, dczformat.build(file), "codebook of 2 levels")
    file = dczformat.File([dczformat.Frame(2, b"\0\0" + dczformat.encode_table([1]))])
    for name in (b"a", b"b"):
        file.tensors.append(dczformat.Tensor(name, 0, 11, [1], 0, 0))
    refused(read, dczformat.build(file), "codebook")
    refused(read, dczformat.one(2, b"\0\1", [1]), "codebook")


def test_a_report_refuses_indices_beyond_a_members_codebook(
    tmp_path: Path, dczformat: ModuleType
) -> None:
    payload = b"\2\5\7\1\5" + dczformat.encode_table([1, 1]) + b"\1"
    for last, cause in ((0b000, None), (0b100, "codebook of 1 levels")):
        file = dczformat.File([dczformat.Frame(2, payload + bytes([0b010 | last]))])
        for name, size in ((b"a", 2), (b"b", 1)):
            file.tensors.append(dczformat.Tensor(name, 0, 11, [size], 0, 0))
        path = tmp_path / "x.dcz"
        path.write_bytes(dczformat.build(file))
        with dcz.open(path) as archive:
            if cause is None:
                assert [tensor.levels for tensor in archive.report().tensors] == [2, 1]
                continue
            with pytest.raises(dcz.CorruptError, match=cause):
                archive.report()


def test_an_empty_codebook_serves_an_empty_tensor(read: Read, dczformat: ModuleType) -> None:
    nothing = dczformat.digest(b"")
    assert read(dczformat.one(2, b"\0\1", [0], decoded=nothing))["t"].size == 0
    assert read(dczformat.one(3, b"\0\1\1\1", [0], decoded=nothing))["t"].size == 0


@pytest.mark.parametrize("coder", [2, 3])
def test_an_empty_tensor_is_read_without_digests_too(
    tmp_path: Path, dczformat: ModuleType, coder: int
) -> None:
    path = tmp_path / "empty.dcz"
    path.write_bytes(dczformat.one(coder, b"\0\1" + b"\1\1" * (coder == 3), [0]))
    with dcz.open(path, check_digests=False) as archive:
        assert archive["t"].shape == (0,)
        with pytest.raises(dcz.ChecksumError, match="digest"):
            archive.verify("t")


def sparse(
    dczformat: ModuleType,
    gaps: list[int],
    *,
    numel: int = 10,
    filler: int = 3,
    gap_count: int | None = None,
    survivors: int | None = None,
    lengths: list[int] | None = None,
) -> bytes:
    """Survivors are all 7: an index alphabet of one symbol takes no bits."""
    lengths = lengths if lengths is not None else [2, 2, 2, 2]
    kept = sum(gap != filler for gap in gaps) if survivors is None else survivors
    coded = dczformat.encode_stream(gaps, lengths)
    payload = b"\1\7" + dczformat.varint(filler) + dczformat.encode_table(lengths) + b"\1"
    payload += dczformat.varint(len(gaps) if gap_count is None else gap_count)
    payload += dczformat.varint(kept) + dczformat.varint(len(coded)) + coded
    out = bytearray(numel)
    at = 0
    for gap in gaps:
        at += gap
        if gap < filler and at < numel:
            out[at] = 7
            at += 1
    file: bytes = dczformat.one(3, payload, [numel], decoded=dczformat.digest(bytes(out)))
    return file


def test_sparse_frames_made_by_hand_decode(read: Read, dczformat: ModuleType) -> None:
    assert read(sparse(dczformat, [2, 3, 0, 1]))["t"].tolist() == [0, 0, 7, 0, 0, 0, 7, 0, 7, 0]
    assert read(sparse(dczformat, [3, 3, 3, 0]))["t"].tolist() == [0] * 9 + [7]
    assert read(sparse(dczformat, [0] * 10))["t"].tolist() == [7] * 10


def test_gaps_that_lead_out_of_their_block(read: Read, dczformat: ModuleType) -> None:
    for gaps in ([3, 3, 3, 1], [2, 2, 2, 2], [0] * 11, [3, 3, 3, 3, 0], [3, 3, 3, 3]):
        refused(read, sparse(dczformat, gaps), "gap")


def test_survivors_and_gaps_that_differ_in_number(read: Read, dczformat: ModuleType) -> None:
    refused(read, sparse(dczformat, [1, 3, 1], survivors=1), "gaps")
    refused(read, sparse(dczformat, [1, 3, 1], survivors=3), "gaps")
    refused(read, sparse(dczformat, [1, 3, 1], survivors=4), "survivor count")
    refused(read, sparse(dczformat, [1, 3, 1], gap_count=2, survivors=1), "gap")
    refused(read, sparse(dczformat, [1, 3, 1], gap_count=11), "gap count")
    refused(read, sparse(dczformat, [1, 3, 1], gap_count=2**64 - 1), "gap count")
    refused(read, sparse(dczformat, [1, 1], gap_count=0, survivors=0), "too many")


@pytest.mark.parametrize("filler", [0, 4096, 2**64 - 1])
def test_fillers_out_of_range(read: Read, dczformat: ModuleType, filler: int) -> None:
    refused(read, sparse(dczformat, [0], filler=filler, lengths=[1]), "filler")


def test_gap_alphabets_above_the_filler(read: Read, dczformat: ModuleType) -> None:
    refused(read, sparse(dczformat, [0, 1], filler=2), "gap alphabet")


def test_survivors_of_an_empty_codebook(read: Read, dczformat: ModuleType) -> None:
    payload = b"\0\1" + b"\1" + b"\1" + b"\1\1"
    refused(read, dczformat.one(3, payload, [4]), "codebook")


def test_a_constant_may_be_large_but_must_be_what_it_says(
    read: Read, dczformat: ModuleType
) -> None:
    good = dczformat.one(2, b"\1\7\1", [2**21], decoded=dczformat.digest(b"\7" * 2**21))
    assert (read(good)["t"] == 7).all()
    refused(read, dczformat.one(2, b"\1\7\1", [2**21]), "digest", dcz.ChecksumError)
