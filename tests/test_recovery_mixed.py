"""Weights shared by a trellis and coded by mixed contexts: back bit for bit, and few bytes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_payloads import decoded

import dcz
from dcz.codec import kernels
from dcz.codec.decode import context_mixing
from dcz.codec.encode import context_mixing as mixed
from dcz.codec.kernels import coding as kernels_coding
from dcz.codec.kernels import digest
from dcz.codec.kernels.reference.decode import mixing as reference_mixed
from dcz.codec.kernels.reference.decode.mixing import Chunk
from dcz.codec.kernels.reference.encode import trellis
from dcz.codec.kernels.reference.encode.trellis import RATE_CLASSES, RATE_LEVELS, TRELLISES
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.share.trellis import quantize
from dcz.codec.wire import trellis_states

try:
    from dcz.codec.kernels.native import levels, mixing
except ImportError:
    CODERS: list[ModuleType] = [reference_mixed]
    QUANTIZERS: list[ModuleType] = [trellis]
else:
    CODERS = [reference_mixed, mixing]
    QUANTIZERS = [trellis, levels]

Array = npt.NDArray[Any]
STATES = list(TRELLISES)
# The other backend takes a fraction of a millisecond each.
LARGE = 1 if kernels.BACKEND == "c" else 50
coding = pytest.mark.parametrize("coder", CODERS, ids=lambda m: m.__name__.split(".")[-1])
quantizing = pytest.mark.parametrize(
    "quantizer", QUANTIZERS, ids=lambda m: m.__name__.split(".")[-1]
)


def along_trellis(levels: list[int], states: int) -> Array:
    """The positions of any levels, as FORMAT.md has them."""
    odd, low = TRELLISES[states]
    state = 0
    positions = []
    for level in levels:
        towards_zero = (state & 1) * ((level > 0) - (level < 0))
        positions.append(2 * level - towards_zero)
        state = state >> 1 ^ (odd if level % 2 else 0) ^ (low if state % 2 else 0)
    return np.array(positions, np.int32)


@st.composite
def chunks(draw: st.DrawFn) -> tuple[Array, Chunk, int]:
    width = draw(st.integers(1, 4))
    kernel = width * draw(st.integers(1, 4))
    row = kernel * draw(st.integers(1, 6))
    numel = draw(st.integers(0, 60))
    states = draw(st.sampled_from(STATES))
    size = draw(st.sampled_from([1, 3, 12, 300, 65535]))
    levels = draw(st.lists(st.integers(-size, size), min_size=numel, max_size=numel))
    chunk = Chunk(draw(st.integers(0, 100)), numel, row, kernel, width)
    return along_trellis(levels, states), chunk, states


@settings(max_examples=60, deadline=None)
@given(chunks())
def test_any_levels_come_back_and_both_backends_agree(case: tuple[Array, Chunk, int]) -> None:
    positions, chunk, states = case
    coded = {coder.encode_mixed(positions, chunk, states) for coder in CODERS}
    assert len(coded) == 1
    (data,) = coded
    assert not data.endswith(b"\0")
    for coder in CODERS:
        assert np.array_equal(coder.decode_mixed(data, chunk, states), positions)


def test_both_backends_decode_noise_alike() -> None:
    rng = np.random.default_rng(1)
    for states in STATES:
        noise = rng.integers(0, 256, 120).astype(np.uint8).tobytes()
        chunk = Chunk(7, 90, 24, 6, 3)
        results = []
        for coder in CODERS:
            try:
                results.append(coder.decode_mixed(noise, chunk, states).tolist())
            except ValueError as error:
                results.append(str(error))
        assert all(result == results[0] for result in results)


def test_both_backends_keep_what_they_learned_alike_over_many_rows() -> None:
    rng = np.random.default_rng(2)
    levels = rng.laplace(size=4000) * np.repeat(rng.random(100), 40)
    positions = along_trellis([round(x) for x in levels.tolist()], 8)
    chunk = Chunk(0, 4000, 40, 4, 2)
    data = CODERS[0].encode_mixed(positions, chunk, 8)
    for coder in CODERS[1:]:
        assert coder.encode_mixed(positions, chunk, 8) == data
        assert np.array_equal(coder.decode_mixed(data, chunk, 8), positions)


@pytest.mark.parametrize("signs", [[-1, 1], [1]])
def test_both_backends_cease_to_predict_signs_alike(signs: list[int]) -> None:
    """After 16,384 signs that nothing foretells: these take one bit each. Others are foretold."""
    levels = np.random.default_rng(3).choice(signs, 16_500).tolist()
    positions = along_trellis(levels, 4)
    chunk = Chunk(0, len(levels), 100, 1, 1)
    data = CODERS[-1].encode_mixed(positions, chunk, 4)
    assert len(data) < 16_500 / 8 * (1.1 if len(signs) > 1 else 0.1)
    for coder in CODERS:
        assert np.array_equal(coder.decode_mixed(data, chunk, 4), positions)


@coding
def test_a_code_of_endless_numbers_gives_the_largest_level(
    coder: ModuleType, dczformat: ModuleType
) -> None:
    """No encoder writes such: nothing but zeros is read, each the likelier end of a decision."""
    wanted = np.full(3, -(2**18), np.int32)
    assert np.array_equal(coder.decode_mixed(b"", Chunk(0, 3, 3, 1, 1), 1), wanted)
    payload = b"\1" + np.float32(1).tobytes() + b"\3\1\1" + b"\0"
    values = wanted.astype(np.float32)
    file = dczformat.one(6, payload, [3], 1, dczformat.digest(values.tobytes()))
    assert dczformat.decode(file)["t"][2] == values.tobytes()


@coding
def test_positions_off_the_trellis_are_refused(coder: ModuleType) -> None:
    chunk = Chunk(0, 1, 1, 1, 1)
    for states in STATES:
        for position in (1, -3, 131074, -131074):
            with pytest.raises(ValueError, match="trellis"):
                coder.encode_mixed(np.array([position], np.int32), chunk, states)


@coding
@pytest.mark.parametrize(
    "geometry",
    [(0, 1, 1), (2**18 + 1, 1, 1), (4, 8, 1), (4, 3, 1), (4, 4, 3), (4, 4, 0), (4, 0, 1)],
)
def test_chunks_of_impossible_geometry_are_refused(
    coder: ModuleType, geometry: tuple[int, int, int]
) -> None:
    with pytest.raises(ValueError, match=r"row|kernel|line"):
        coder.encode_mixed(np.zeros(3, np.int32), Chunk(0, 3, *geometry), 8)
    with pytest.raises(ValueError, match=r"row|kernel|line"):
        coder.decode_mixed(b"", Chunk(0, 3, *geometry), 8)


def random_rates(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return rng.random((RATE_CLASSES, 2, 1)) * np.arange(RATE_LEVELS)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    count=st.integers(0, 40),
    states=st.sampled_from(trellis_states.STATES),
)
def test_both_backends_find_the_same_path(seed: int, count: int, states: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.laplace(size=count) * rng.choice([0.1, 1, 30])
    values[rng.random(count) < 0.2] = 0
    classes = rng.integers(0, RATE_CLASSES, count).astype(np.uint8)
    for dtype in (np.float32, np.float64):
        arguments = values.astype(dtype), 2.0, states, classes, random_rates(seed)
        found = [quantizer.quantize_trellis(*arguments) for quantizer in QUANTIZERS]
        for positions, counts in found:
            assert np.array_equal(positions, found[0][0])
            assert np.array_equal(counts, found[0][1])
            assert counts.sum() == count
            assert np.all(positions[values == 0] == 0)


@quantizing
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), states=st.sampled_from(trellis_states.STATES))
def test_no_path_costs_less(quantizer: ModuleType, seed: int, states: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 6, 4)
    classes = np.zeros(4, np.uint8)
    rates = random_rates(seed)
    odd, low = TRELLISES[states]

    def cost(levels: tuple[int, ...]) -> float:
        state, total = 0, 0.0
        for value, level in zip(values.tolist(), levels, strict=True):
            point = 2 * level - (state & 1) if level else 0
            total += (value - point) ** 2 + rates[0, state & 1, level]
            state = state >> 1 ^ (odd if level & 1 else 0) ^ (low if state & 1 else 0)
        return total

    positions, counts = quantizer.quantize_trellis(values, 1.0, states, classes, rates)
    least = min(cost(levels) for levels in itertools.product(range(5), repeat=4))
    paid = float(np.sum((values - positions) ** 2) + np.sum(counts * rates))
    assert paid == pytest.approx(least, rel=1e-12)


@quantizing
@pytest.mark.parametrize("value", [math.inf, math.nan, 70000.0, -70000.0])
def test_values_out_of_reach_are_refused(quantizer: ModuleType, value: float) -> None:
    values, classes = np.array([1.0, value]), np.zeros(2, np.uint8)
    with pytest.raises(ValueError, match="too many steps"):
        quantizer.quantize_trellis(values, 1.0, 8, classes, random_rates(1))
    with pytest.raises(ValueError, match="states"):
        quantizer.quantize_trellis(values, 1.0, 2, classes, random_rates(1))


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple),
    dtype=st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]),
    step=st.sampled_from([0.01, 0.3, 2.0]),
    states=st.sampled_from(trellis_states.STATES),
    seed=st.integers(0, 99),
)
def test_trellis_tensors_come_back_whatever_their_shape(
    shape: tuple[int, ...], dtype: Any, step: float, states: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32).reshape(-1)
    shared = quantize.quantize(values, shape, step, states, np.dtype(dtype))
    out = decoded(mixed.encode(shared, shape), shared.member)
    assert out.dtype == dtype
    assert out.tobytes() == shared.codebook[shared.indices].tobytes()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=0, max_size=4).map(tuple),
    dtype=st.sampled_from([np.float32, np.float16, np.int8, np.uint16, np.int64, np.bool_]),
    levels=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_tensors_of_few_values_come_back(
    shape: tuple[int, ...], dtype: Any, levels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, levels, math.prod(shape)).astype(np.uint8)
    bits = rng.integers(0, 2 if dtype == np.bool_ else 256, levels * np.dtype(dtype).itemsize)
    codebook = bits.astype(np.uint8).view(dtype)  # NaN, infinities and both zeros among them
    shared = SharedTensor(indices, codebook, False)
    out = decoded(mixed.encode(shared, shape), shared.member)
    assert out.tobytes() == codebook[indices].tobytes()


def test_many_levels_come_back() -> None:
    rng = np.random.default_rng(3)
    codebook = np.sort(rng.normal(size=65536)).astype(np.float64)
    shared = SharedTensor(rng.integers(0, 65536, 200).astype(np.uint16), codebook, False)
    shared.indices[:2] = 0, 65535
    out = decoded(mixed.encode(shared, (200,)), shared.member)
    assert np.array_equal(out, codebook[shared.indices])


@pytest.mark.skipif(kernels.BACKEND != "c", reason="a million weights take minutes without C")
def test_chunks_decode_alone() -> None:
    rng = np.random.default_rng(4)
    numel = trellis_states.CHUNK + 1000
    values = (rng.random(numel) < 0.02) * rng.normal(size=numel).astype(np.float32)
    shared = quantize.quantize(values, (numel // 8, 8), 0.2, 4)
    frame = mixed.encode(shared, (numel // 8, 8))
    decoder = context_mixing.Decoder(memoryview(frame.payload), [shared.member])
    whole = shared.codebook[shared.indices]
    for start in range(0, numel, decoder.unit):
        stop = min(start + decoder.unit, numel)
        out = np.empty(stop - start, np.float32)
        digests = np.empty(digest.digest_count(out.nbytes), np.uint64)
        decoder.decode(start, stop, out, digests)
        assert np.array_equal(out, whole[start:stop])
        expected = np.empty_like(digests)
        kernels_coding.write_digests(out, expected)
        assert np.array_equal(digests, expected)


def test_a_trellis_has_less_error_than_rounding_to_whole_steps() -> None:
    values = np.random.default_rng(5).uniform(-8, 8, 8000 // LARGE)
    shared = quantize.quantize(values, values.shape, 0.5, 8, slope_factor=0.0)
    error = np.mean((values - shared.codebook[shared.indices]) ** 2)
    # A uniform grid of the same bits has 1/12; dependent quantization gains about 1 dB.
    assert 0.7 / 12 < error < 0.9 / 12


@pytest.mark.skipif(kernels.BACKEND != "c", reason="takes a minute without C")
def test_fewer_bytes_than_classes_at_equal_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    scales = np.exp(rng.normal(size=(64, 32, 1, 1)))
    weights = (scales * rng.laplace(size=(64, 32, 3, 3))).astype(np.float32)
    sizes = []
    for preset in ("balanced", "max"):
        recipe = dcz.Recipe(preset=preset, max_error=5e-3)
        sizes.append(dcz.save_file({"w": weights}, tmp_path / "x.dcz", recipe).file_bytes)
    assert sizes[1] < 0.96 * sizes[0]


def test_neighbours_that_are_alike_save_bits() -> None:
    rng = np.random.default_rng(7)
    smooth = np.cumsum(rng.normal(size=(3000 // LARGE, 8)), axis=1).astype(np.float32)
    shuffled = rng.permutation(smooth.reshape(-1)).reshape(smooth.shape)
    sizes = [
        len(mixed.encode(quantize.quantize(w.reshape(-1), w.shape, 0.3), w.shape).payload)
        for w in (smooth, shuffled)
    ]
    assert sizes[0] < 0.9 * sizes[1]


def test_constant_tensors_cost_next_to_nothing() -> None:
    for value in (0.0, 1.5, -3.0):
        book = np.array([value], np.float32)
        shared = SharedTensor(np.zeros(20000 // LARGE, np.uint8), book, False)
        frame = mixed.encode(shared, (100, shared.indices.size // 100))
        assert len(frame.payload) < 60
        assert np.all(decoded(frame, shared.member) == value)


@pytest.mark.parametrize("step", [0.0, -1.0, math.inf, math.nan, 1e-50, 1e-6])
def test_steps_that_make_no_trellis_are_refused(step: float) -> None:
    with pytest.raises(ValueError, match="step"):
        quantize.quantize(np.ones(10), (10,), step)


def weights(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(12, 30)).astype(np.float32)


def test_states_and_coders_are_chosen_by_recipe(tmp_path: Path) -> None:
    tensors = {"a": weights(1), "b": weights(2), "c": np.sign(weights(3))}
    rules = [dcz.Rule(pattern="b", quantizer="kmeans")]
    for states in (None, 4, 64):
        recipe = dcz.Recipe(preset="max", states=states, max_error=1e-2, rules=rules)
        dcz.save_file(tensors, tmp_path / "x.dcz", recipe)
        error = np.sum((dcz.load_file(tmp_path / "x.dcz")["a"] - tensors["a"]) ** 2)
        assert 0 < error < 0.03 * np.sum(tensors["a"] ** 2)
        assert np.array_equal(dcz.load_file(tmp_path / "x.dcz")["c"], tensors["c"])
    assert {dcz.Recipe(preset="max", coder=c).preset for c in (None, "auto", "mixed")} == {"max"}


@pytest.mark.skipif(kernels.BACKEND != "c", reason="takes a minute without C")
def test_k_means_may_be_coded_by_mixed_contexts(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    scales = np.exp(rng.normal(size=(90, 1)))
    tensors = {"a": (scales * rng.normal(size=(90, 80))).astype(np.float32)}
    sizes = []
    for coder in ("huffman", "mixed"):
        report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(bits=4, coder=coder))
        sizes.append(report.file_bytes)
    assert report.tensors[0].coder == "mixed"
    assert sizes[1] < 0.9 * sizes[0]


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"preset": "max", "coder": "huffman"}, "leave out coder"),
        ({"quantizer": "trellis", "coder": "huffman"}, "leave out coder"),
        ({"coder": "huffman", "rules": [dcz.Rule(pattern="*", quantizer="trellis")]}, "coder"),
        ({"preset": "max", "bits": 4}, "leave out bits"),
        ({"preset": "max", "initialisation": "linear"}, "leave out initialisation"),
        ({"states": 8}, "leave out states"),
        ({"states": 8, "bits": 4}, "only a trellis has states"),
        ({"preset": "balanced", "states": 8}, "leave out states"),
        ({"preset": "max", "states": 5}, "none of 4, 8, 16, 32, 64"),
        ({"preset": "max", "states": 8.0}, "none of 4, 8, 16, 32, 64"),
        ({"preset": "max", "states": True}, "none of 4, 8, 16, 32, 64"),
        ({"preset": "max", "states": "8"}, "none of 4, 8, 16, 32, 64"),
    ],
)
def test_what_a_trellis_cannot_do_is_refused(settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(dcz.RecipeError, match=cause):
        dcz.Recipe(**settings)


def test_values_past_a_narrow_dtype_are_kept(tmp_path: Path) -> None:
    tensor = np.full((30, 30), 65504, np.float16)
    tensor.reshape(-1)[:600] = np.arange(600) * 100
    dcz.save_file({"a": tensor}, tmp_path / "x.dcz", dcz.Recipe(preset="max", max_error=0.05))
    assert np.all(np.isfinite(dcz.load_file(tmp_path / "x.dcz")["a"]))
