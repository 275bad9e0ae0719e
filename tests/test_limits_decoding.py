"""What a caller does not want to take on is refused before memory is taken for it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zstandard

import dcz

MEBIBYTE = 1 << 20


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "packed.dcz"
    tensors = {f"t{i}": np.arange(1000, dtype=np.int32) for i in range(3)}
    dcz.save_file(tensors, path)
    return path


def test_everything_passes_the_default_limits(packed: Path) -> None:
    assert len(dcz.load_file(packed, limits=dcz.DecodeLimits())) == 3


@pytest.mark.parametrize(
    ("field", "enough", "cause"),
    [
        ("tensor_bytes", 4000, "shape"),
        ("total_bytes", 12000, "take more than"),
        ("tensors", 3, "tensors are more"),
    ],
)
def test_limits_are_exact(packed: Path, field: str, enough: int, cause: str) -> None:
    for path_of_use in (dcz.load_file, dcz.open):
        path_of_use(packed, limits=dcz.DecodeLimits(**{field: enough}))
        with pytest.raises(dcz.LimitError, match=cause) as caught:
            path_of_use(packed, limits=dcz.DecodeLimits(**{field: enough - 1}))
        assert caught.value.file == str(packed)
        assert str(enough - 1) in str(caught.value)


def test_index_and_metadata_are_limited(tmp_path: Path, dczformat: ModuleType) -> None:
    raw = b'{"key":"' + b"x" * 1000 + b'"}'
    metadata = dczformat.varint(len(raw)) + dczformat.varint(len(raw)) + raw
    data = dczformat.build(dczformat.File(metadata=metadata))
    path = tmp_path / "metadata.dcz"
    path.write_bytes(data)
    index = len(data) - 20
    dcz.open(path, limits=dcz.DecodeLimits(index_bytes=index, metadata_bytes=len(raw)))
    with pytest.raises(dcz.LimitError, match="index"):
        dcz.open(path, limits=dcz.DecodeLimits(index_bytes=index - 1))
    with pytest.raises(dcz.LimitError, match="metadata"):
        dcz.open(path, limits=dcz.DecodeLimits(metadata_bytes=len(raw) - 1))


def test_aliases_count_towards_the_total(tmp_path: Path, dczformat: ModuleType) -> None:
    file = dczformat.stored({"x": bytes(1000)})
    file.tensors += [dczformat.Tensor(b"%d" % i, 3, alias=0) for i in range(9)]
    path = tmp_path / "aliases.dcz"
    path.write_bytes(dczformat.build(file))
    assert len(dcz.load_file(path, limits=dcz.DecodeLimits(total_bytes=10_000))) == 10
    with pytest.raises(dcz.LimitError, match="take more than"):
        dcz.open(path, limits=dcz.DecodeLimits(total_bytes=9_999))


@pytest.mark.parametrize("coder", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [[2**41], [2**20, 2**20, 2], [2**62], [1] + [2**30] * 2])
def test_declared_sizes_are_refused_before_allocation(
    tmp_path: Path, dczformat: ModuleType, coder: int, shape: list[int]
) -> None:
    path = tmp_path / "huge.dcz"
    path.write_bytes(dczformat.one(coder, b"\1\7\1", shape))
    tracemalloc.start()
    try:
        with pytest.raises(dcz.LimitError):
            dcz.load_file(path)
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


def test_opening_takes_no_memory_for_what_is_declared(
    tmp_path: Path, dczformat: ModuleType
) -> None:
    path = tmp_path / "large.dcz"
    path.write_bytes(dczformat.one(2, b"\1\7\1", [2**39]))
    tracemalloc.start()
    try:
        with dcz.open(path) as archive:
            assert archive.info("t").nbytes == 2**39
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coder", [0, 1, 2, 3])
def test_frames_that_cannot_fill_their_tensor_are_refused_in_little_memory(
    tmp_path: Path, dczformat: ModuleType, coder: int
) -> None:
    """The declared output is only reserved, not written, when the payload is found wanting."""
    broken = {0: b"abc", 1: b"\0\0abc", 2: b"\4\0\1\2\3\4\0abc", 3: b"\1\7\3\1\1abc"}
    path = tmp_path / "large.dcz"
    numel = 2**28
    path.write_bytes(dczformat.one(coder, broken[coder], [numel]))
    with dcz.open(path, jobs=1) as archive:
        tracemalloc.start()
        try:
            with pytest.raises(dcz.CorruptError) as caught:
                archive["t"]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert not isinstance(caught.value, dcz.ChecksumError)
        assert peak < numel + 8 * MEBIBYTE


def test_counts_in_the_index_are_refused_before_allocation(
    tmp_path: Path, dczformat: ModuleType
) -> None:
    path = tmp_path / "counts.dcz"
    for count in (2**21, 2**40, 2**64 - 1):
        for index in (
            dczformat.varint(count),
            b"\0" + dczformat.varint(count),
            b"\0\0" + dczformat.varint(count),
        ):
            path.write_bytes(dczformat.seal(b"", index + b"\1{"))
            tracemalloc.start()
            try:
                with pytest.raises(dcz.DczError):
                    dcz.open(path)
                assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
            finally:
                tracemalloc.stop()


def test_limits_are_plain_values() -> None:
    limits = dcz.DecodeLimits(tensors=1)
    assert limits._replace(tensors=2).tensors == 2
    with pytest.raises(AttributeError):
        limits.tensors = 3  # type: ignore[misc]


def test_many_tensors_of_nothing_are_read_in_their_number(
    tmp_path: Path, dczformat: ModuleType
) -> None:
    """A frame of very many members must not cost their square: this test would not end."""
    count = 30_000
    file = dczformat.File([dczformat.Frame(0, b"")])
    nothing = dczformat.digest(b"")
    file.tensors = [dczformat.Tensor(b"%05d" % i, 0, 11, [0], 0, nothing) for i in range(count)]
    path = tmp_path / "many.dcz"
    path.write_bytes(dczformat.build(file))
    with dcz.open(path) as archive:
        assert len(archive.report().tensors) == count
    assert len(dcz.load_file(path)) == count


def bomb_of_names(dczformat: ModuleType) -> bytes:
    """Each name is the one before and a letter more: together they grow with the square."""
    count, nothing = 20_000, dczformat.digest(b"").to_bytes(8, "little")
    index = dczformat.varint(1) + b"\0\0" + dczformat.checksum(b"").to_bytes(4, "little")
    index += dczformat.varint(count)
    index += b"".join(dczformat.varint(i) + b"\1a\x0b\1\0\0" + nothing for i in range(count))
    return bytes(dczformat.seal(b"", index + b"\0"))


def bomb_of_sizes(dczformat: ModuleType) -> bytes:
    file = dczformat.File([dczformat.Frame(0, b"")])
    nothing = dczformat.digest(b"")
    shape = [0] + 31 * [300]
    file.tensors = [dczformat.Tensor(b"%05d" % i, 0, 11, shape, 0, nothing) for i in range(30_000)]
    return bytes(dczformat.build(file))


def bomb_of_copies(dczformat: ModuleType) -> bytes:
    file = dczformat.stored({"x": b"1"})
    file.tensors += [dczformat.Tensor(b"%06d" % i, 3, alias=0) for i in range(300_000)]
    return bytes(dczformat.build(file))


def bomb_of_frames(dczformat: ModuleType) -> bytes:
    count = 1_000_000
    frame = b"\0\0" + dczformat.checksum(b"").to_bytes(4, "little")
    return bytes(dczformat.seal(b"", dczformat.varint(count) + frame * count + b"\0\0"))


def bomb_of_metadata(dczformat: ModuleType, raw: bytes) -> bytes:
    stored = zstandard.compress(raw)
    metadata = dczformat.varint(len(raw)) + dczformat.varint(len(stored)) + stored
    return bytes(dczformat.build(dczformat.File(metadata=metadata)))


METADATA = {
    "a name again and again": b"{" + b'"a":"",' * 2_000_000 + b'"b":""}',
    "lists": b'{"a":[' + b"[]," * 4_000_000 + b"1]}",
    "lists in lists": b'{"a":' + b"[" * 12_000_000,
    "many names": b"{" + b"".join(b'"%x":"",' % i for i in range(1_000_000)) + b'"b":""}',
    "wide text": ('{"a":"' + "x" * 15_000_000 + '\U0001f600"}').encode(),
}


@pytest.mark.parametrize("kind", ["names", "sizes", "copies", "frames", *METADATA])
def test_an_index_takes_little_more_memory_than_the_file_is_large(
    tmp_path: Path, dczformat: ModuleType, kind: str
) -> None:
    if kind in METADATA:
        data = bomb_of_metadata(dczformat, METADATA[kind])
    else:
        data = globals()[f"bomb_of_{kind}"](dczformat)
    path = tmp_path / "bomb.dcz"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(dcz.DczError):
            dcz.open(path)
        assert tracemalloc.get_traced_memory()[1] < len(data) + 64 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_an_index_s_memory_is_a_limit_like_others(packed: Path) -> None:
    dcz.open(packed, limits=dcz.DecodeLimits(index_memory=1 << 14))
    with pytest.raises(dcz.LimitError, match="index takes more memory"):
        dcz.open(packed, limits=dcz.DecodeLimits(index_memory=1 << 8))
