"""What must not change comes back bit for bit: every dtype, shape, stride and value."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dcz
from dcz.formats.container.dtypes import DTYPES

Array = np.ndarray[Any, Any]
LOSSLESS = dcz.Recipe(quantizer="lossless")
each_dtype = pytest.mark.parametrize("dtype", [row.numpy for row in DTYPES], ids=str)
relaxed = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def noise(dtype: np.dtype[Any], shape: tuple[int, ...], seed: int = 0) -> Array:
    """Random bits: all NaN payloads, infinities, denormals and signed zeros there are."""
    generator = np.random.default_rng(seed)
    size = math.prod(shape)
    if dtype == np.bool_:
        return generator.integers(0, 2, shape).astype(np.bool_)
    return generator.integers(0, 256, size * dtype.itemsize, np.uint8).view(dtype).reshape(shape)


def assert_same(decoded: dict[str, Array], tensors: dict[str, Array]) -> None:
    assert list(decoded) == list(tensors)
    for name, array in tensors.items():
        got = decoded[name]
        little = array.dtype.newbyteorder("<") if array.dtype.kind in "fiuc" else array.dtype
        assert (got.dtype, got.shape) == (little, array.shape), name
        assert (
            got.tobytes() == array.astype(little).tobytes()
            if array.dtype != little
            else (got.tobytes() == array.tobytes())
        ), name


def round_trip(
    path: Path, tensors: dict[str, Array], recipe: dcz.Recipe | None = LOSSLESS
) -> dict[str, Array]:
    dcz.save_file(tensors, path, recipe)
    decoded = dcz.load_file(path)
    assert_same(decoded, tensors)
    return decoded


@each_dtype
@pytest.mark.parametrize(
    "shape",
    [(), (0,), (3, 0, 2), (1,), (7,), (1, 1, 1, 1), (3, 5, 2, 4), (4095,), (4097,), (70_000,)],
    ids=str,
)
def test_random_bits_of_every_dtype(
    tmp_path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> None:
    round_trip(tmp_path / "x.dcz", {"x": noise(dtype, shape)})


@each_dtype
def test_several_blocks_of_every_dtype(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    few = noise(dtype, (64,))
    where = np.random.default_rng(1).integers(0, 64, (3, 100_003)) ** 2 // 64
    sparse = np.where(np.random.default_rng(2).random(300_001) < 0.01, few[where[0, 0]], 0)
    tensors = {
        "noise": noise(dtype, (300_001,)),
        "few": few[where],
        "sparse": sparse.astype(dtype),
        "constant": np.full(300_001, few[3]),
    }
    with np.errstate(all="ignore"):
        round_trip(tmp_path / "x.dcz", tensors)


@each_dtype
@pytest.mark.parametrize("recipe", [None, dcz.Recipe(bits=3, sparsity=0.5)], ids=["default", "3"])
def test_what_a_recipe_may_not_touch_stays(
    tmp_path: Path, dtype: np.dtype[Any], recipe: dcz.Recipe | None
) -> None:
    """One dimension, no real floating point, or not all finite."""
    tensors = {"bias": noise(dtype, (3000,)), "scalar": noise(dtype, ())}
    if dtype.kind in "iubc" or dtype.itemsize == 1:
        tensors["matrix"] = noise(dtype, (300, 20))
    round_trip(tmp_path / "x.dcz", tensors, recipe)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, "bfloat16"], ids=str)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_keeps_a_matrix_as_it_is(
    tmp_path: Path, dtype: Any, special: float
) -> None:
    wide = np.random.default_rng(0).normal(size=(100, 100))
    row = next(row for row in DTYPES if row.name == np.dtype(dtype).name)
    array = wide.astype(row.numpy)
    array[50, 50] = special
    tensors = {"x": array, "other": wide.astype(np.float32)}
    dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(bits=2, sparsity=0.9))
    with dcz.open(tmp_path / "x.dcz") as archive:
        assert archive.is_exact("x")
        assert archive["x"].tobytes() == array.tobytes()
        assert not archive.is_exact("other")
        assert np.count_nonzero(archive["other"] == 0) == 9000


def test_every_pattern_of_two_bytes(tmp_path: Path) -> None:
    everything = np.arange(65536, dtype=np.uint16)
    tensors = {row.name: everything.view(row.numpy) for row in DTYPES if row.itemsize == 2}
    tensors |= {f"twice {n}": np.tile(a, (5, 1)) for n, a in tensors.items()}
    round_trip(tmp_path / "x.dcz", tensors)


def test_every_layout_in_memory(tmp_path: Path) -> None:
    base = np.random.default_rng(0).integers(-1000, 1000, (8, 9, 10, 11), np.int32)
    raw = np.zeros(400 * 4 + 1, np.uint8)
    tensors = {
        "c": base,
        "fortran": np.asfortranarray(base),
        "transposed": base.T,
        "permuted": base.transpose(2, 0, 3, 1),
        "reversed": base[::-1, :, ::-1],
        "strided": base[::3, 1::2, :, ::5],
        "broadcast": np.broadcast_to(base[0, 0, 0], (50, 11)),
        "scalar": base[0, 0, 0, :1].reshape(()),
        "unaligned": raw[1:].view(np.int32),
        "big-endian": base.astype(">i4"),
        "big-endian float": base.astype(">f8"),
        "overlapping": np.lib.stride_tricks.sliding_window_view(base.reshape(-1), 5)[:300],
        "read-only": base.copy(),
    }
    tensors["read-only"].flags.writeable = False
    decoded = round_trip(tmp_path / "x.dcz", tensors)
    assert all(array.flags.c_contiguous for array in decoded.values())


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a/b",
        "../../etc/passwd",
        "\0",
        "\n",
        "ключ",
        "🙂",
        "x" * 70_000,
        "a\u0301",
        "__metadata__",
    ],
    ids=lambda name: repr(name[:8]),
)
def test_names_of_every_kind(tmp_path: Path, name: str) -> None:
    round_trip(tmp_path / "x.dcz", {name: np.arange(3), name + ".": np.arange(4)})


@pytest.mark.parametrize("bad", ["\ud800", 1, None, b"bytes"], ids=repr)
def test_names_that_are_none_are_refused(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(dcz.DczError):
        dcz.save_file({bad: np.arange(3)}, tmp_path / "x.dcz")


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a", None], object),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2020-01-01"], "datetime64[D]"),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.zeros(2, np.longdouble),
        np.zeros((1,) * 33, np.int8),
        [1, 2, 3],
        None,
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_values_that_are_no_tensors_are_refused_when_packing(tmp_path: Path, value: Any) -> None:
    with pytest.raises(dcz.DczError, match="odd"):
        dcz.save_file({"odd": value}, tmp_path / "x.dcz")
    assert not (tmp_path / "x.dcz").exists()


@each_dtype
def test_few_values_are_coded_near_their_entropy(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    """Weights trained with sharing, 4-bit weights in bytes: exact under every default."""
    if dtype == np.bool_ or dtype.itemsize == 16:
        pytest.skip("bools have two values; patterns of 16 bytes are kept as planes")
    generator = np.random.default_rng(0)
    values = np.unique(noise(dtype, (40,)).view(f"u{dtype.itemsize}"))[:15].view(dtype)
    share = generator.dirichlet(np.full(values.size, 5.0))
    indices = generator.choice(values.size, (500, 400), p=share)
    array = values[indices]
    for recipe in (None, dcz.Recipe(bits=4), LOSSLESS):
        round_trip(tmp_path / "x.dcz", {"x": array}, recipe)
        counts = np.bincount(indices.reshape(-1))
        bits = -np.sum(counts * np.log2(counts / counts.sum()))
        size = (tmp_path / "x.dcz").stat().st_size
        assert 8 * size < 1.03 * bits + 8 * (150 + values.nbytes)


def test_negative_zeros_are_not_zeros(tmp_path: Path) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        array = np.zeros((500, 600), dtype)
        array[::3, ::2] = -0.0
        array[7] = 1.5
        round_trip(tmp_path / "x.dcz", {"x": array, "y": -np.zeros((300, 300), dtype)}, None)


def test_tied_arrays_are_stored_once_and_one_again(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8)
    tensors = {
        "weight": weight,
        "copy": weight.copy(),
        "tied": weight,
        "view": weight[:],
        "transposed": weight.T,
        "part": weight[:50],
    }
    decoded = round_trip(tmp_path / "x.dcz", tensors)
    assert decoded["tied"] is decoded["weight"]
    assert decoded["view"] is decoded["weight"]
    assert decoded["copy"] is not decoded["weight"]
    assert not np.shares_memory(decoded["copy"], decoded["weight"])
    assert not np.shares_memory(decoded["part"], decoded["weight"])
    assert (tmp_path / "x.dcz").stat().st_size < 10_000 + 10_000 + 5_000 + 400
    with dcz.open(tmp_path / "x.dcz") as archive:
        assert archive.ties == {"tied": "weight", "view": "weight"}
        assert np.array_equal(archive["tied"], weight)


def test_copies_of_another_shape_or_dtype_are_no_copies(tmp_path: Path) -> None:
    array = np.arange(64, dtype=np.int32)
    tensors = {
        "a": array,
        "b": array.reshape(8, 8).copy(),
        "c": array.view(np.uint32).copy(),
        "d": array.view(np.float32).copy(),
        "e": array.copy(),
        "none": np.zeros((0, 3), np.int32),
        "none too": np.zeros((3, 0), np.int32),
        "none again": np.zeros((0, 3), np.int32),
    }
    round_trip(tmp_path / "x.dcz", tensors, None)


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pt"])
def test_copies_are_found_and_tensors_alike_at_first_are_none(tmp_path: Path, ending: str) -> None:
    generator = np.random.default_rng(3)
    first = generator.integers(0, 2**31, (40, 50), np.int64).astype(np.int32)
    alike = first.copy()
    alike[-1, -1] ^= 1
    strided = np.asfortranarray(first)
    tensors = {"first": first, "alike": alike, "strided": strided, "copy": first.copy()}
    source = tmp_path / f"model.{ending}"
    if ending == "pt":
        torch = pytest.importorskip("torch")
        torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, source)
    elif ending == "npz":
        np.savez(source, **tensors)
    else:
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, source)
    report = dcz.pack(source, tmp_path / "model.dcz")
    aliases = {tensor.name: tensor.alias_of for tensor in report.tensors}
    originals = {aliases[name] or name for name in ("first", "strided", "copy")}
    assert len(originals) == 1 and aliases["alike"] is None
    decoded = dcz.load_file(tmp_path / "model.dcz")
    assert all(np.array_equal(decoded[name], array) for name, array in tensors.items())


def test_groups_of_small_tensors(tmp_path: Path, dczformat: ModuleType) -> None:
    generator = np.random.default_rng(0)
    tensors: dict[str, Array] = {}
    for i in range(60):
        size = (0, 1, 3, 64, 200)[i % 5]
        tensors[f"float.{i}"] = generator.normal(size=size).astype(np.float32)
        tensors[f"few.{i}"] = generator.integers(0, 3, (size, 8)).astype(np.int8)
        tensors[f"same.{i}"] = np.full((size, 2), i % 2, np.int64)
        tensors[f"zeros.{i}"] = generator.integers(0, 9, (size, 9)).astype(np.float32) // 8
        tensors[f"scalar.{i}"] = np.array(i)
    path = tmp_path / "x.dcz"
    round_trip(path, tensors)
    file = dczformat.parse(path.read_bytes())
    assert len(file.frames) < 30
    decoded = dczformat.decode(path.read_bytes())
    assert {n: raw for n, (_, _, raw) in decoded.items()} == {
        n: a.tobytes() for n, a in tensors.items()
    }


def test_groups_stay_within_their_limit(tmp_path: Path, dczformat: ModuleType) -> None:
    generator = np.random.default_rng(0)
    tensors = {f"t{i}": generator.integers(0, 4, 4096).astype(np.int8) for i in range(40)}
    path = tmp_path / "x.dcz"
    round_trip(path, tensors)
    file = dczformat.parse(path.read_bytes())
    sizes = [sum(t.numel for t in file.members(i)) for i in range(len(file.frames))]
    assert max(sizes) <= 65536 < sum(sizes)


def test_thousands_of_scalars(tmp_path: Path) -> None:
    """Their number must not cost its square: this test would not end."""
    tensors = {f"steps.{i}": np.array(i, np.int64) for i in range(10_000)}
    tensors |= {f"none.{i}": np.zeros(0, np.float32) for i in range(1000)}
    round_trip(tmp_path / "x.dcz", tensors)


def test_reading_into_memory_of_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "x.dcz"
    tensors = {
        "large": noise(np.dtype(np.float32), (300, 500)),
        "small": noise(np.dtype(np.int16), (3, 4)),
        "small too": noise(np.dtype(np.int16), (5,)),
        "scalar": noise(np.dtype(np.float64), ()),
        "none": np.zeros((0, 2)),
    }
    dcz.save_file(tensors, path, LOSSLESS)
    with dcz.open(path) as archive:
        for name, array in tensors.items():
            out = np.empty(array.shape, array.dtype)
            assert archive.read(name, out) is out
            assert out.tobytes() == array.tobytes()
        room = np.zeros((2, 300, 500), np.float32)
        archive.read("large", room[1])
        assert not room[0].any()
        assert room[1].tobytes() == tensors["large"].tobytes()
        for bad in (
            np.empty((300, 501), np.float32),
            np.empty((300, 500), np.float64),
            np.empty((150_000,), np.float32),
            np.empty((500, 300), np.float32).T,
            np.empty((300, 1000), np.float32)[:, ::2],
        ):
            with pytest.raises(ValueError, match="large"):
                archive.read("large", bad)
        sealed = np.zeros((300, 500), np.float32)
        sealed.flags.writeable = False
        with pytest.raises(ValueError, match="large"):
            archive.read("large", sealed)
        assert not sealed.any()
        with pytest.raises(KeyError):
            archive["nobody"]
        with pytest.raises(KeyError):
            archive.read("nobody", room)


def test_eight_threads_read_one_archive(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    tensors = {f"s{i}": generator.normal(size=50 + i % 7) for i in range(200)}
    tensors |= {f"l{i}": generator.integers(0, 30, (400, 500)).astype(np.int8) for i in range(8)}
    path = tmp_path / "x.dcz"
    dcz.save_file(tensors, path, LOSSLESS)
    with dcz.open(path, jobs=3) as archive, ThreadPoolExecutor(8) as threads:

        def work(seed: int) -> None:
            names = np.random.default_rng(seed).permutation(list(tensors))
            for name in names.tolist():
                assert archive[name].tobytes() == tensors[name].tobytes()

        for done in [threads.submit(work, seed) for seed in range(8)]:
            done.result()


def test_arrays_outlive_their_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.dcz"
    tensors = {"stored": noise(np.dtype(np.uint8), (500,)), "few": np.arange(9000) % 7}
    dcz.save_file(tensors, path)
    with dcz.open(path) as archive:
        arrays = dict(archive)
    path.unlink()
    assert_same(arrays, tensors)


def test_nothing_at_all(tmp_path: Path) -> None:
    report = dcz.save_file({}, tmp_path / "x.dcz")
    assert dcz.load_file(tmp_path / "x.dcz") == {}
    assert report.file_bytes == (tmp_path / "x.dcz").stat().st_size
    dcz.save_file({"none": np.zeros((5, 0), np.float32)}, tmp_path / "x.dcz")
    assert dcz.load_file(tmp_path / "x.dcz")["none"].shape == (5, 0)


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    row = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 9), max_size=4))
    seed = draw(st.integers(0, 2**32 - 1))
    array = noise(row.numpy, tuple(shape), seed)
    if draw(st.booleans()) and array.size:
        few = array.reshape(-1)[: draw(st.integers(1, 4))]
        array = np.random.default_rng(seed).choice(few, (*shape, draw(st.integers(1, 40))))
    if draw(st.booleans()):
        array = array.transpose(draw(st.permutations(range(array.ndim))))
    if draw(st.booleans()) and array.ndim:
        array = array[:: draw(st.sampled_from([-2, -1, 2, 3]))]
    return array


@relaxed
@given(tensors=st.dictionaries(st.text(max_size=6), arrays(), max_size=12), jobs=st.integers(1, 4))
def test_any_tensors_without_loss(
    tmp_path: Path, dczformat: ModuleType, tensors: dict[str, Array], jobs: int
) -> None:
    path = tmp_path / "x.dcz"
    try:
        dcz.save_file(tensors, path, LOSSLESS, jobs=jobs)
    except dcz.UnsupportedError as error:
        assert "Unicode" in str(error)
        return
    assert_same(dcz.load_file(path, jobs=jobs), tensors)
    decoded = dczformat.decode(path.read_bytes())
    assert {n: raw for n, (_, _, raw) in decoded.items()} == {
        n: a.tobytes() for n, a in tensors.items()
    }
