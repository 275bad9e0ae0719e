"""What a reader does around the symbols: code tables, finding segments, digests, large output."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

import dcz
from dcz.codec.kernels.reference import coding as reference_coding
from dcz.codec.kernels.reference.decode import codes as reference_codes
from dcz.codec.kernels.reference.encode import encoding
from dcz.codec.wire import code_table
from dcz.codec.wire.varint import Cursor

try:
    from dcz.codec.kernels.native import coding
except ImportError:
    BACKENDS: list[ModuleType] = [reference_coding]
else:
    BACKENDS = [reference_coding, coding]

Array = npt.NDArray[Any]
CHUNK = 1 << 20

backends = pytest.mark.parametrize("kernels", BACKENDS, ids=lambda m: m.__name__.split(".")[-1])


def outcome(action: Any, *arguments: Any) -> Any:
    """What a kernel returns, as plain values, or the type and text of what it raises."""
    try:
        result = action(*arguments)
    except (ValueError, EOFError) as error:
        return type(error), str(error)
    plain = result if isinstance(result, tuple) else (result,)
    return [item.tolist() if isinstance(item, np.ndarray) else item for item in plain]


def agreed(name: str, *arguments: Any) -> Any:
    outcomes = [outcome(getattr(kernels, name), *arguments) for kernels in BACKENDS]
    assert all(other == outcomes[0] for other in outcomes)
    return outcomes[0]


def digests_of(array: Array) -> list[int]:
    data = array.tobytes()
    starts = range(0, max(len(data), 1), CHUNK)
    return [xxhash.xxh3_64_intdigest(data[start : start + CHUNK]) for start in starts]


def random_code(rng: np.random.Generator, alphabet: int, size: int) -> tuple[Array, Array]:
    weights = rng.random(alphabet) ** 4
    symbols = rng.choice(alphabet, size=size, p=weights / weights.sum()).astype(np.uint16)
    return symbols, reference_codes.code_lengths(np.bincount(symbols, minlength=alphabet), 15)


@pytest.mark.parametrize("alphabet", [2, 3, 31, 32, 33, 256, 1000, 4096])
def test_code_tables_come_back_and_every_prefix_is_refused(alphabet: int) -> None:
    _, lengths = random_code(np.random.default_rng(alphabet), alphabet, 3 * alphabet)
    cursor = Cursor(memoryview(code_table.encode_table(lengths)))
    assert cursor.varint("alphabet") == alphabet
    table = bytes(cursor.rest)
    assert agreed("write_lengths", lengths) == [table]
    assert agreed("read_lengths", table + b"\xff", alphabet) == [lengths.tolist(), len(table)]
    for size in range(0, len(table), max(len(table) // 20, 1)):
        kind, _ = agreed("read_lengths", table[:size], alphabet)
        assert kind in (EOFError, ValueError)


@backends
@pytest.mark.parametrize("lengths", [[], [0, 0], [2, 2], [1, 1, 1], [16, 1], [0, 2]])
def test_lengths_of_no_code_are_not_written(kernels: ModuleType, lengths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"code|alphabet"):
        kernels.write_lengths(np.array(lengths, np.uint8))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(2, 40))
def test_random_code_tables_are_read_alike(table: bytes, alphabet: int) -> None:
    agreed("read_lengths", table, alphabet)


@pytest.mark.parametrize(
    ("table", "alphabet", "cause"),
    [
        (b"\x00", 3, "complete"),
        (b"\x80", 2, "padding"),
        (b"\x1b", 2, "outside 0 to 15"),
        (b"\x97\x03", 2, "single symbol"),
        (b"", 1, "alphabet"),
        (b"", 4097, "alphabet"),
    ],
)
def test_bad_code_tables_are_refused(table: bytes, alphabet: int, cause: str) -> None:
    kind, text = agreed("read_lengths", table, alphabet)
    assert kind is ValueError
    assert cause in text


def test_segments_are_found_where_they_were_written() -> None:
    rng = np.random.default_rng(5)
    counts = np.array([0, 1, 4095, 4096, 70_000, 3])
    starts = np.concatenate(([0], np.cumsum(counts)))
    symbols, lengths = random_code(rng, 32, int(starts[-1]))
    data, offsets = encoding.encode_segments(symbols, starts, lengths)
    assert agreed("find_segments", b"??" + data, 2, counts, [True]) == [(offsets + 2).tolist()]
    for size in range(0, len(data), len(data) // 50):
        kind, _ = agreed("find_segments", data[:size], 0, counts, [True])
        assert kind in (EOFError, ValueError)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60),
    st.lists(st.sampled_from([0, 1, 3, 4096]), max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=3),
)
def test_random_payloads_are_walked_alike(
    payload: bytes, counts: list[int], coded: list[bool]
) -> None:
    for name in ("find_segments", "find_blocks"):
        agreed(name, payload, 0, np.array(counts, np.int64), coded)


@pytest.mark.parametrize("name", ["find_segments", "find_blocks"])
@pytest.mark.parametrize("arguments", [(-1, [3], [True]), (9, [3], [True]), (0, [-3], [True])])
def test_walks_that_make_no_sense_are_refused(name: str, arguments: Any) -> None:
    position, counts, coded = arguments
    assert agreed(name, bytes(8), position, np.array(counts, np.int64), coded)[0] is ValueError


@backends
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize(
    "size", [0, 1, 240, 241, 1023, 1024, 1025, CHUNK - 1, CHUNK, CHUNK + 8, CHUNK + 1000]
)
def test_digests_are_those_of_the_values(kernels: ModuleType, size: int, dtype: type) -> None:
    rng = np.random.default_rng(size)
    count = size // np.dtype(dtype).itemsize
    symbols, lengths = random_code(rng, 40, max(count, 2))
    symbols, block = symbols[:count], 30_001
    starts = np.array([*range(0, count, block), count])
    data, offsets = encoding.encode_segments(symbols, starts, lengths)
    codebook = rng.integers(0, np.iinfo(dtype).max, 40, dtype)
    out = np.zeros(count, dtype)
    digests = np.zeros(len(digests_of(out)), np.uint64)
    kernels.decode_dense(data, offsets[:-1], np.diff(starts), lengths, codebook, out, digests)
    assert (out == codebook[symbols]).all()
    assert digests.tolist() == digests_of(out)


@backends
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.parametrize("span", [1 << 18, 50_001])
@pytest.mark.parametrize("shift", [0, 1])
def test_large_sparse_output_is_written_whole(
    kernels: ModuleType, span: int, shift: int, dtype: type
) -> None:
    rng = np.random.default_rng(span)
    size = (5 << 19) // np.dtype(dtype).itemsize + 777
    indices = np.where(rng.random(size) < 0.1, rng.integers(1, 33, size), 0).astype(np.uint16)
    gaps, survivors, gap_starts, starts = encoding.split_sparse(indices, span, 31)
    codes = [
        reference_codes.code_lengths(np.bincount(symbols, minlength=alphabet), 12)
        for symbols, alphabet in ((gaps, 32), (survivors, 32))
    ]
    first, gap_offsets = encoding.encode_segments(gaps, gap_starts, codes[0])
    second, offsets = encoding.encode_segments(survivors, starts, codes[1])
    codebook = rng.integers(1, np.iinfo(dtype).max, 32, dtype)
    memory = np.full(size + 2, 0xA5, dtype)
    out = memory[shift : shift + size]
    digests = np.zeros(len(digests_of(out)), np.uint64)
    kernels.decode_sparse(
        first + second,
        gap_offsets[:-1],
        np.diff(gap_starts),
        offsets[:-1] + len(first),
        np.diff(starts),
        codes[0],
        31,
        codes[1],
        codebook,
        span,
        out,
        digests,
    )
    assert (out == np.concatenate((np.zeros(1, dtype), codebook))[indices]).all()
    assert digests.tolist() == digests_of(out)
    assert (memory[:shift] == 0xA5).all()
    assert (memory[shift + size :] == 0xA5).all()


@backends
def test_digests_need_a_place_for_each_chunk(kernels: ModuleType) -> None:
    symbols, lengths = random_code(np.random.default_rng(0), 4, 5000)
    data, offsets = encoding.encode_segments(symbols, np.array([0, 5000]), lengths)
    arguments = (data, offsets[:-1], np.array([5000]), lengths, np.arange(4, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"\w"):
        kernels.decode_dense(*arguments, np.empty(5000, np.uint8), np.empty(2, np.uint64))


def test_threads_decode_the_same_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    tensors: dict[str, Array] = {
        f"small.{i}": rng.normal(size=100 + i).astype(np.float32) for i in range(20)
    }
    tensors["large"] = rng.normal(size=(1500, 1000)).astype(np.float32)
    tensors["tied"] = tensors["large"]
    tensors["copy"] = tensors["small.3"].copy()
    tensors["pruned"] = np.where(rng.random((1200, 1000)) < 0.1, rng.normal(size=1000), 0)
    path = tmp_path / "x.dcz"
    dcz.save_file(tensors, path, dcz.Recipe(bits=5))
    one, three = (dcz.load_file(path, jobs=jobs) for jobs in (1, 3))
    assert list(one) == list(three) == list(tensors)
    assert all((one[name] == three[name]).all() for name in one)
    assert three["tied"] is three["large"]
    with dcz.open(path, jobs=3) as archive:
        assert all((archive[name] == one[name]).all() for name in one)


@pytest.mark.parametrize("jobs", [1, 2])
def test_damage_is_reported_with_its_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    from dcz.formats.pack import pack, packer

    path = tmp_path / "wrong.dcz"
    monkeypatch.setattr(packer, "combine", lambda digests: 1)
    monkeypatch.setattr(pack, "verify", lambda archive: None)
    weights = np.random.default_rng(0).normal(size=(1000, 1000)).astype(np.float32)
    dcz.save_file({"weights": weights}, path)
    with pytest.raises(dcz.ChecksumError, match=r"'weights'.*digest"):
        dcz.load_file(path, jobs=jobs)
