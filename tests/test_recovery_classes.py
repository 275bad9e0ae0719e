"""Weights on a grid, coded by classes of rows: back bit for bit, and near their entropy."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_payloads import decoded

from dcz.codec.decode import registry
from dcz.codec.encode import choice, row_classes
from dcz.codec.errors import RecipeError
from dcz.codec.kernels.coding_arguments import ClassCodes
from dcz.codec.kernels.digest import digest_count
from dcz.codec.kernels.reference.decode import classes
from dcz.codec.kernels.reference.encode import runs
from dcz.codec.share import uniform
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.wire import row_classes as wire_row_classes
from dcz.codec.wire.coders import CODERS
from dcz.formats.container.digest import chunk_digests

try:
    from dcz.codec.kernels.native import coding
    from dcz.codec.kernels.native import levels as native_runs
except ImportError:
    BACKENDS: list[ModuleType] = [runs]
    DECODERS: list[ModuleType] = [classes]
else:
    BACKENDS = [runs, native_runs]
    DECODERS = [classes, coding]

Array = npt.NDArray[Any]
backends = pytest.mark.parametrize("kernels", BACKENDS, ids=lambda m: m.__name__.split(".")[-1])
decoders = pytest.mark.parametrize("kernels", DECODERS, ids=lambda m: m.__name__.split(".")[-1])


def rows(seed: int, shape: tuple[int, int], spread: float = 1.0) -> Array:
    """Gaussian rows, each with a scale of its own."""
    rng = np.random.default_rng(seed)
    scale = np.exp(spread * rng.normal(size=(shape[0], 1)))
    return (rng.normal(size=shape) * scale).astype(np.float32)


def entropy(symbols: Array) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


@backends
@given(
    numel=st.integers(0, 300),
    length=st.integers(1, 70),
    group_count=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_counts_and_look_ups_of_runs_match_plain_loops(
    kernels: ModuleType, numel: int, length: int, group_count: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, group_count, -(-numel // length)).astype(np.uint32)
    bins = rng.integers(0, 40, numel).astype(np.uint16)
    tables = rng.integers(0, rng.choice([200, 900]), (group_count, 40)).astype(np.uint16)
    counts = np.zeros((group_count, 40), np.int64)
    for i, symbol in enumerate(bins.tolist()):
        counts[groups[i // length], symbol] += 1
    wanted = [tables[groups[i // length], b] for i, b in enumerate(bins.tolist())]
    assert np.array_equal(kernels.count_runs(bins, length, groups, group_count, 40), counts)
    assert np.array_equal(kernels.map_runs(bins, length, groups, tables), wanted)


@backends
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_are_those_of_exact_arithmetic(kernels: ModuleType, dtype: type) -> None:
    values = np.array([-3, -1.001, -1, -0.999, 0, 0.49, 0.5, 2.75, 1e30, -1e30], dtype)
    wanted = [0, 0, 0, 0, 2, 2, 3, 7, 65535, 0]
    assert kernels.find_bins(values, 2.0, -2.0).tolist() == wanted


@backends
def test_rows_join_the_class_that_costs_least(kernels: ModuleType) -> None:
    rng = np.random.default_rng(1)
    counts, rates = rng.integers(0, 50, (40, 9)), rng.integers(1, 90, (5, 9))
    rates[3] = rates[1]
    nearest, sums = kernels.nearest_classes(counts, rates)
    for row, its in zip(counts.tolist(), nearest.tolist(), strict=True):
        costs = [sum(c * r for c, r in zip(row, rate, strict=True)) for rate in rates.tolist()]
        assert its == costs.index(min(costs))
    for k in range(5):
        assert np.array_equal(sums[k], counts[nearest == k].sum(axis=0))


@backends
def test_kernels_on_runs_refuse_what_does_not_fit(kernels: ModuleType) -> None:
    bins, groups = np.zeros(10, np.uint16), np.zeros(4, np.uint32)
    table = np.zeros((1, 1), np.uint16)
    good = kernels.count_runs(bins, 3, groups, 1, 1)
    assert good.tolist() == [[10]]
    for arguments in [
        (bins + 1, 3, groups, 1, 1),
        (bins, 0, groups, 1, 1),
        (bins, 4, groups, 1, 1),
        (bins, 3, groups + 1, 1, 1),
        (bins, 3, groups, 1, 0),
    ]:
        with pytest.raises(ValueError):
            kernels.count_runs(*arguments)
    with pytest.raises(ValueError):
        kernels.map_runs(bins + 1, 3, groups, table)
    with pytest.raises(ValueError):
        kernels.nearest_classes(np.zeros((2, 3), np.int64), np.zeros((17, 3), np.int64))


@decoders
def test_kernels_on_classes_refuse_what_does_not_fit(kernels: ModuleType) -> None:
    one = np.ones(1, np.int64)
    parts = one, one, np.zeros(1, np.bool_), np.ones(1, np.uint8), np.zeros(1, np.uint16)
    code, two = ClassCodes(*parts), ClassCodes(*(np.repeat(each, 2) for each in parts))
    none, book, out = np.zeros((1, 1), np.int64), np.zeros(1, np.uint32), np.zeros(10, np.uint32)
    for offsets, kinds, length, codes, codebook in [
        (none, np.zeros(3, np.uint8), 3, code, book),
        (none, np.ones(4, np.uint8), 3, code, book),
        (none, np.zeros(4, np.uint8), 3, two, book),
        (none[:0], np.zeros(4, np.uint8), 3, code, book),
        (none + 1, np.zeros(4, np.uint8), 3, code, book),
        (none, np.zeros(4, np.uint8), 3, code, book[:0]),
        (none, np.zeros(4, np.uint8), 3, code, np.zeros(1, np.uint8)),
        (none, np.zeros(4, np.int64), 3, code, book),
        (none, np.zeros(1, np.uint8), 0, code, book),
    ]:
        with pytest.raises(ValueError):
            kernels.decode_runs(b"", offsets, kinds, length, 4, codes, codebook, out)
    for position, count, levels, item_size in [
        (0, 0, 1, 4),
        (0, 17, 1, 4),
        (0, 1, 0, 4),
        (0, 1, 4097, 4),
        (0, 1, 1, 3),
        (9, 1, 1, 4),
        (-1, 1, 1, 4),
    ]:
        with pytest.raises(ValueError):
            kernels.read_class_codes(bytes(8), position, count, levels, item_size)
    for position, kinds, length, numel in [
        (1, np.zeros(4, np.uint8), 3, 10),
        (0, np.zeros(3, np.uint8), 3, 10),
        (0, np.ones(4, np.uint8), 3, 10),
        (0, np.zeros(4, np.uint8), 0, 10),
    ]:
        with pytest.raises(ValueError):
            kernels.find_class_segments(b"", position, kinds, length, 4, numel, code)
    # A run may be declared to be longer than all there is.
    for length in (10, 11, 2**62, 2**62 + 1):
        out[:] = 0
        kernels.decode_runs(b"", none, np.zeros(1, np.uint8), length, 1, code, book + 7, out)
        assert out.tolist() == [7] * 10


def shared_rows(
    shape: tuple[int, int], step: float, dtype: str, seed: int
) -> tuple[SharedTensor, wire_row_classes.Runs]:
    """Rows on a grid, in up to three classes that do not mind their scale."""
    indices = np.clip(np.rint(rows(seed, shape) / step), -90, 90).astype(np.int64)
    levels, inverse = np.unique(indices, return_inverse=True)
    shared = SharedTensor(inverse.reshape(-1).astype(np.uint8), levels.astype(dtype), False)
    found = np.random.default_rng(seed).integers(0, 3, shape[0]).astype(np.uint8)
    found[: min(shape[0], 3)] = np.arange(min(shape[0], 3))
    return shared, wire_row_classes.Runs(shape[1], found)


@decoders
@settings(max_examples=25, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(2, 60), st.integers(8, 260)),
        st.tuples(st.integers(2, 9), st.integers(3000, 12000)),
    ),
    step=st.floats(0.02, 3),
    dtype=st.sampled_from(["float16", "float32", "float64", "int8"]),
    seed=st.integers(0, 99),
)
def test_kernels_on_classes_decode_and_digest_what_was_coded(
    kernels: ModuleType, shape: tuple[int, int], step: float, dtype: str, seed: int
) -> None:
    shared, cut = shared_rows(shape, step, dtype, seed)
    drafted = row_classes.draft_runs(shared, cut)
    frame = drafted.encode()
    start = len(drafted.codebook) + len(drafted.class_map)
    codes, position = kernels.read_class_codes(
        frame.payload, start, cut.count, shared.codebook.size, shared.codebook.itemsize
    )
    for (lengths, members), stream in zip(codes.each(), drafted.streams, strict=True):
        assert np.array_equal(lengths, stream.table.lengths)
        assert members.shape == (lengths.size, 1 if stream.table.pairs is None else 2)
    numel = shared.indices.size
    where = cut.classes, cut.length, cut.runs_in_block
    offsets = kernels.find_class_segments(frame.payload, position, *where, numel, codes)
    assert offsets[-1] == len(frame.payload)
    out = np.full(numel + 64, 0x5A, f"u{shared.codebook.itemsize}")
    values = shared.codebook.view(out.dtype)[codes.members]
    digests = np.empty(digest_count(shared.codebook.itemsize * numel), np.uint64)
    kernels.decode_runs(frame.payload, offsets[:-1], *where, codes, values, out[:numel], digests)
    wanted = shared.codebook[shared.indices]
    assert np.array_equal(out[:numel].view(dtype), wanted)
    assert (out[numel:] == 0x5A).all()
    assert digests.tolist() == chunk_digests(wanted)


@pytest.mark.skipif(len(DECODERS) < 2, reason="there is one backend only")
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 30), st.integers(8, 60)),
    step=st.floats(0.05, 3),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_both_backends_say_the_same_of_broken_tables(
    shape: tuple[int, int], step: float, seed: int, data: st.DataObject
) -> None:
    shared, cut = shared_rows(shape, step, "float32", seed)
    drafted = row_classes.draft_runs(shared, cut)
    payload = bytearray(drafted.encode().payload)
    start = len(drafted.codebook) + len(drafted.class_map)
    end = start + sum(len(stream.table.encode()) for stream in drafted.streams)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(start, end - 1))] = data.draw(st.integers(0, 255))
    cut_off = bytes(payload[: data.draw(st.integers(start, len(payload)))])
    found = [outcome_of_tables(kernels, cut_off, start, cut.count, shared) for kernels in DECODERS]
    assert found[0] == found[1]


def outcome_of_tables(
    kernels: ModuleType, payload: bytes, start: int, count: int, shared: SharedTensor
) -> Any:
    """What is read, or the kind of error."""
    try:
        codes, end = kernels.read_class_codes(payload, start, count, shared.codebook.size, 4)
    except (ValueError, EOFError) as error:
        return type(error)
    return end, [(lengths.tolist(), members.tolist()) for lengths, members in codes.each()]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 300)),
    step=st.floats(0.05, 20),
    slope=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
def test_grid_tensors_come_back_whatever_their_shape(
    shape: tuple[int, int], step: float, slope: float, seed: int
) -> None:
    values = rows(seed, shape, 0.5)
    shared = uniform.quantize(values.reshape(-1), shape, step, slope)
    wanted = shared.codebook[shared.indices]
    assert np.array_equal(decoded(choice.encode(shared, shape), shared.member), wanted)
    assert np.array_equal(decoded(choice.encode(shared, shape, "huffman"), shared.member), wanted)


@pytest.mark.parametrize("shape", [(700, 1100), (3, 2**18), (2, 2**18 + 1), (5000, 130), (9, 9)])
def test_parts_decode_like_the_whole(shape: tuple[int, int]) -> None:
    values = rows(3, shape)
    shared = uniform.quantize(values.reshape(-1), shape, 0.3)
    frame = choice.encode(shared, shape)
    decoder = registry.open_frame(frame.coder, memoryview(frame.payload), [shared.member])
    wanted = shared.codebook[shared.indices]
    for start in range(0, values.size, decoder.unit):
        stop = min(start + decoder.unit, values.size)
        out = np.empty(stop - start, np.float32)
        digests = np.empty(digest_count(out.nbytes), np.uint64)
        decoder.decode(start, stop, out, digests)
        assert np.array_equal(out, wanted[start:stop])
        assert digests.tolist() == chunk_digests(out)


def test_rows_of_different_scale_are_coded_below_the_entropy_of_all() -> None:
    shape = (512, 384)
    shared = uniform.quantize(rows(4, shape).reshape(-1), shape, 0.25)
    frame = choice.encode(shared, shape)
    of_class = np.repeat(shared.runs.classes, shape[1])
    parts = sum(entropy(shared.indices[of_class == k]) for k in range(shared.runs.count))
    assert shared.runs.count > 1
    assert 8 * len(frame.payload) < 0.97 * entropy(shared.indices)
    assert parts < 8 * len(frame.payload) < 1.02 * parts


@pytest.mark.parametrize(("step", "excess"), [(0.4, 0.013), (1.0, 0.013), (2.0, 0.03)])
def test_pairs_come_near_the_entropy(step: float, excess: float) -> None:
    values = np.random.default_rng(5).normal(size=400_000).astype(np.float32)
    shared = uniform.quantize(values, values.shape, step)
    frame = choice.encode(shared, values.shape)
    bound = entropy(shared.indices)
    assert bound < 8 * len(frame.payload) < (1 + excess) * bound
    assert len(frame.payload) < len(choice.encode(shared, values.shape, "huffman").payload)


def test_neighbours_that_are_alike_are_coded_below_their_entropy() -> None:
    rng = np.random.default_rng(6)
    values = np.repeat(rng.normal(size=100_000), 2) + 0.1 * rng.normal(size=200_000)
    shared = uniform.quantize(values.astype(np.float32), values.shape, 0.5)
    frame = choice.encode(shared, values.shape)
    assert 8 * len(frame.payload) < 0.75 * entropy(shared.indices)


@pytest.mark.parametrize("value", [0.0, 0.75])
def test_constant_tensors_take_next_to_nothing(value: float) -> None:
    shared = uniform.quantize(np.full(10**6, value, np.float32), (1000, 1000), 0.25)
    frame = choice.encode(shared, (1000, 1000))
    assert len(frame.payload) < 30
    assert np.all(decoded(frame, shared.member) == value)


def test_dead_rows_take_next_to_nothing() -> None:
    values = rows(7, (400, 500), 0.0)
    alone = choice.encode(uniform.quantize(values.reshape(-1), values.shape, 0.3), values.shape)
    padded = np.concatenate([values, np.zeros((1600, 500), np.float32)])
    padded = padded[np.random.default_rng(8).permutation(2000)]
    shared = uniform.quantize(padded.reshape(-1), padded.shape, 0.3)
    frame = choice.encode(shared, padded.shape)
    assert len(frame.payload) < len(alone.payload) + 500
    assert np.array_equal(decoded(frame, shared.member), shared.codebook[shared.indices])


def test_long_runs_of_zeros_are_coded_by_gaps() -> None:
    values = np.zeros(500_000, np.float32)
    where = np.random.default_rng(9).choice(values.size, 500, replace=False)
    values[where] = 1.0 + np.arange(500) % 3
    shared = uniform.quantize(values, values.shape, 1.0)
    frame = choice.encode(shared, values.shape)
    assert CODERS[frame.coder].name == "huffman-sparse"
    assert np.array_equal(decoded(frame, shared.member), shared.codebook[shared.indices])


@settings(max_examples=40, deadline=None)
@given(step=st.floats(0.3, 5), seed=st.integers(0, 99), size=st.integers(1000, 5000))
def test_without_a_slope_the_error_is_that_of_rounding_or_less(
    step: float, seed: int, size: int
) -> None:
    values = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    shared = uniform.quantize(values, (size,), step, 0.0)
    error = np.sum((values - shared.codebook[shared.indices]) ** 2)
    rounding = np.sum((values - np.rint(values / step) * step) ** 2)
    assert error <= 1.01 * rounding


def test_zero_stays_zero() -> None:
    values = np.random.default_rng(10).exponential(size=5000).astype(np.float32)
    values[::3] = 0
    shared = uniform.quantize(values, (50, 100), 0.4)
    assert np.all(shared.codebook[shared.indices][::3] == 0)


def test_bits_are_bought_where_they_lower_the_error_most() -> None:
    """At one size, rounding by rate has the smaller error; so it is at one slope everywhere."""
    values = np.random.default_rng(11).laplace(size=200_000)
    points = []
    for slope in (0.0, 0.12):
        for step in (1.0, 1.1, 1.2, 1.3, 1.4):
            shared = uniform.quantize(values, values.shape, step, slope)
            error = np.mean((values - shared.codebook[shared.indices]) ** 2)
            points.append((slope, error, entropy(shared.indices) / values.size))
    plain = [(e, b) for slope, e, b in points if slope == 0]
    by_rate = [(e, b) for slope, e, b in points if slope > 0]
    for error, bits in by_rate:
        if plain[0][0] < error < plain[-1][0]:
            at = np.interp(math.log(error), *np.array([(math.log(e), b) for e, b in plain]).T)
            assert bits < at


@pytest.mark.parametrize("step", [0.0, -1.0, math.inf, math.nan, 1e-9, 1e-4])
def test_steps_that_make_no_grid_are_refused(step: float) -> None:
    values = np.random.default_rng(12).normal(size=1000)
    with pytest.raises(RecipeError):
        uniform.quantize(values, values.shape, step)


def test_unknown_coders_are_refused() -> None:
    shared = uniform.quantize(np.ones(10), (10,), 0.5)
    with pytest.raises(ValueError, match="zip"):
        choice.encode(shared, (10,), "zip")
