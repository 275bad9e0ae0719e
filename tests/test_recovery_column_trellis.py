"""Compensation along a trellis through columns: back bit for bit, with less error of the output."""

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
import support_payloads
from hypothesis import given, settings
from hypothesis import strategies as st
from support_moments import factors_of, moments_of
from support_payloads import check_by_both_decoders, decoded

import dcz
from dcz.codec import kernels
from dcz.codec.calibration.record import Calibration, Sensed
from dcz.codec.calibration.sensitivity import Metric
from dcz.codec.decode import context_mixing
from dcz.codec.encode import context_mixing as mixed
from dcz.codec.kernels import mixing
from dcz.codec.kernels.reference.encode import trellis
from dcz.codec.kernels.reference.encode.trellis import RATE_CLASSES, RATE_LEVELS, TRELLISES
from dcz.codec.report import mixing as report_mixing
from dcz.codec.share.trellis import feedback, quantize
from dcz.codec.share.trellis.feedback import ColumnTrellisTensor, Compensation
from dcz.codec.wire import reconstruction, trellis_states
from dcz.codec.wire.arrays import Member
from dcz.codec.wire.row_classes import Runs
from dcz.codec.wire.varint import encode_varint
from dcz.formats.container.dtypes import by_numpy

try:
    from dcz.codec.kernels.native import levels as native_trellis
except ImportError:
    QUANTIZERS: list[ModuleType] = [trellis]
else:
    QUANTIZERS = [trellis, native_trellis]

Array = npt.NDArray[Any]
native = pytest.mark.skipif(kernels.BACKEND != "c", reason="takes minutes without C")


def end_of(positions: Array, states: int) -> int:
    """The state after some positions, as FORMAT.md has it."""
    odd, low = TRELLISES[states]
    state = 0
    for position in positions.tolist():
        level = (abs(position) + state % 2) // 2
        state = state >> 1 ^ (odd if level % 2 else 0) ^ (low if state % 2 else 0)
    return state


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    count=st.integers(0, 30),
    states=st.sampled_from(trellis_states.STATES),
)
def test_closed_paths_end_where_they_began_on_both_backends(
    seed: int, count: int, states: int
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.laplace(size=count) * rng.choice([0.3, 3])).astype(np.float32)
    values[rng.random(count) < 0.2] = 0
    classes = rng.integers(0, RATE_CLASSES, count).astype(np.uint8)
    rates = rng.random((RATE_CLASSES, 2, 1)) * np.arange(RATE_LEVELS)
    found = [
        q.quantize_trellis(values, 2.0, states, classes, rates, closed=True) for q in QUANTIZERS
    ]
    for positions, counts in found:
        assert np.array_equal(positions, found[0][0])
        assert np.array_equal(counts, found[0][1])
        assert end_of(positions, states) == 0
        assert np.all(positions[values == 0] == 0)


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda m: m.__name__.split(".")[-1])
def test_no_closed_path_costs_less(quantizer: ModuleType) -> None:
    rng = np.random.default_rng(1)
    odd, low = TRELLISES[4]
    for _ in range(8):
        values = rng.uniform(0.1, 6, 5)
        rates = rng.random((RATE_CLASSES, 2, 1)) * np.arange(RATE_LEVELS)
        costs = []
        for levels in itertools.product(range(5), repeat=5):
            state, total = 0, 0.0
            for value, level in zip(values.tolist(), levels, strict=True):
                point = 2 * level - (state & 1) if level else 0
                total += (value - point) ** 2 + rates[0, state & 1, level]
                state = state >> 1 ^ (odd if level & 1 else 0) ^ (low if state & 1 else 0)
            costs += [total] if state == 0 else []
        classes = np.zeros(5, np.uint8)
        positions, counts = quantizer.quantize_trellis(values, 1.0, 4, classes, rates, closed=True)
        paid = float(np.sum((values - positions) ** 2) + np.sum(counts * rates))
        assert paid == pytest.approx(min(costs), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(32, 3), (40, 2, 5), (33, 2, 3, 3), (64, 1)]),
    dtype=st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]),
    states=st.sampled_from([8, 64]),
    seed=st.integers(0, 99),
)
def test_tensors_by_columns_come_back(
    shape: tuple[int, ...], dtype: Any, states: int, seed: int, dczformat: ModuleType
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.laplace(size=shape).astype(np.float32).reshape(-1)
    factors = factors_of(rng, values.size // shape[0])
    compensation = Compensation(states, factors)
    shared = feedback.quantize(values, shape, 0.25, compensation, np.dtype(dtype))
    check_by_both_decoders(shared, shape, dczformat)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(32, 8), (40, 3, 5), (33, 2, 3, 3)]),
    dtype=st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]),
    states=st.sampled_from([4, 32]),
    seed=st.integers(0, 99),
)
def test_tensors_by_columns_with_steps_by_rows_come_back(
    shape: tuple[int, ...], dtype: Any, states: int, seed: int, dczformat: ModuleType
) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.arange(shape[0]) % 3).astype(np.uint8)
    values = rng.laplace(size=shape).astype(np.float32).reshape(-1)
    compensation = Compensation(states, factors_of(rng, values.size // shape[0]))
    shared = feedback.quantize_by_rows(
        values, shape, (0.1, 0.25, 2.0), classes, compensation, np.dtype(dtype)
    )
    check_by_both_decoders(shared, shape, dczformat)
    if dtype == np.float64:
        steps = shared.steps.astype(np.float64)[classes][:, None]
        in_steps = shared.codebook[shared.indices].reshape(shape[0], -1) / steps
        assert np.array_equal(in_steps.T.reshape(-1), shared.positions_by_columns)


def quantized(
    rng: np.random.Generator, groups: int = 1, pruned: bool = False
) -> tuple[Array, Metric, ColumnTrellisTensor]:
    values = rng.normal(size=(64, 20)).astype(np.float32)
    metric = Metric(np.ones(64), moments_of(rng, 20, groups))
    assert metric.factors is not None
    mask = np.abs(values) < 0.5 if pruned else None
    compensation = Compensation(8, metric.factors, mask)
    shared = feedback.quantize(values.reshape(-1), (64, 20), 0.25, compensation, values.dtype)
    return values, metric, shared


@pytest.mark.parametrize("groups", [1, 2])
def test_the_output_errs_less_than_without_compensation(groups: int) -> None:
    values, metric, shared = quantized(np.random.default_rng(2), groups)
    plain = quantize.quantize(values.reshape(-1), values.shape, 0.25, 8)
    errors = [
        metric.error(tensor.codebook[tensor.indices] - values.reshape(-1))
        for tensor in (shared, plain)
    ]
    assert errors[0] < 0.7 * errors[1]
    columns = shared.positions_by_columns.reshape(20, 64)
    for column in columns:
        for part in np.split(column, groups):
            assert end_of(part, 8) == 0


def test_what_was_pruned_stays_zero() -> None:
    values, _, shared = quantized(np.random.default_rng(3), pruned=True)
    out = shared.codebook[shared.indices].reshape(values.shape)
    assert np.all(out[np.abs(values) < 0.5] == 0)
    assert np.count_nonzero(out) > 0.9 * np.count_nonzero(np.abs(values) >= 0.5)


@pytest.mark.parametrize("groups", [1, 2])
def test_paths_begin_anew_where_chunks_do(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    """Chunks of 100 elements cut columns of 64 rows."""
    for module in (feedback, context_mixing, reconstruction, quantize):
        monkeypatch.setattr(module, "CHUNK", 100)
    values, metric, shared = quantized(np.random.default_rng(4), groups)
    frame = mixed.encode(shared, values.shape)
    out = decoded(frame, shared.member)
    assert np.array_equal(out, shared.codebook[shared.indices])
    assert metric.error(out - values.reshape(-1)) < 0.1 * metric.error(values.reshape(-1))


@pytest.mark.parametrize("groups", [1, 2])
def test_paths_with_steps_by_rows_begin_anew_where_chunks_do(
    monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    """Chunks of 100 elements, read in pieces of 13 and counted in pieces of 17."""
    for module in (feedback, context_mixing, reconstruction, quantize):
        monkeypatch.setattr(module, "CHUNK", 100)
    monkeypatch.setattr(context_mixing, "PIECE", 13)
    monkeypatch.setattr(report_mixing, "COUNTED", 17)
    rng = np.random.default_rng(4)
    values = rng.laplace(size=(64, 20)).astype(np.float32)
    classes = rng.permutation(np.arange(64) % 3).astype(np.uint8)
    compensation = Compensation(8, factors_of(rng, 20, groups))
    shared = feedback.quantize_by_rows(
        values.reshape(-1), (64, 20), (0.1, 0.25, 2.0), classes, compensation, values.dtype
    )
    out = decoded(mixed.encode(shared, values.shape), shared.member)
    assert np.array_equal(out, shared.codebook[shared.indices])


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from([17, 20, 25, 26, 30]),
    row=st.sampled_from([1, 7, 24, 168]),
    run=st.sampled_from([8, 11, 40]),
    seed=st.integers(0, 99),
)
def test_what_no_encoder_writes_decodes_as_the_format_says(
    kind: int, row: int, run: int, seed: int, dczformat: ModuleType
) -> None:
    """Multiples by columns; runs that are no rows; kernels in columns."""
    rng = np.random.default_rng(seed)
    states = 1 if kind % 8 == 1 else 1 << kind % 8
    positions = walk(rng, 168, states)
    classes = rng.permutation(np.arange(-(-168 // run)) % 3).astype(np.uint8)
    steps = np.array([0.1, 3e38, 7], np.float32)[: 3 if kind > 24 else 1]
    runs = Runs(run, classes).encode() if kind > 24 else b""
    geometry = reconstruction.Geometry(row, row, 1)
    data = mixing.encode_mixed(positions, geometry.whole(168), states)
    head = bytes([kind]) + runs + steps.astype("<f4").tobytes() + geometry.encode()
    payload = head + encode_varint(len(data)) + bytes(data)
    at = np.arange(168)
    place = at % row * (168 // row) + at // row
    own = steps[classes[place // run]] if kind > 24 else steps[0]
    wanted = np.empty(168, np.float32)
    wanted[place] = trellis_states.values_at(positions, own.astype(np.float64), wanted.dtype)
    out = support_payloads.decode(context_mixing.Decoder, payload, Member(wanted.dtype, 168))
    assert np.array_equal(out, wanted)
    code = by_numpy(wanted.dtype).code
    file = dczformat.one(6, payload, [168], code, dczformat.digest(wanted.tobytes()))
    ((_, _, raw),) = dczformat.decode(file).values()
    assert raw == wanted.tobytes()


def walk(rng: np.random.Generator, count: int, states: int) -> npt.NDArray[np.int32]:
    """Positions of levels at random, as FORMAT.md has them."""
    odd, low = TRELLISES[states] if states > 1 else (0, 0)
    state, positions = 0, []
    for level in rng.integers(-3, 4, count).tolist():
        apart = 2 * abs(level) - (state % 2 if level else 0)
        positions.append(apart if level > 0 else -apart)
        state = state >> 1 ^ (odd if level % 2 else 0) ^ (low if state % 2 else 0)
    return np.array(positions, np.int32)


def test_steps_too_fine_are_refused() -> None:
    factors = factors_of(np.random.default_rng(5), 2)
    for step in (1e-3, 1e-9):
        with pytest.raises(ValueError, match=r"steps|multiples"):
            values = np.linspace(-60, 60, 64).astype(np.float32)
            feedback.quantize(values, (32, 2), step, Compensation(4, factors), values.dtype)


def test_steps_by_rows_follow_what_rows_count_for() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(size=(64, 20)).astype(np.float32)
    sensitivities = np.repeat([1.0, 1 / 64], 32)
    metric = Metric(sensitivities, moments_of(rng, 20))
    assert metric.factors is not None
    compensation = Compensation(8, metric.factors)
    classes = np.repeat([0, 1], 32).astype(np.uint8)
    shared = feedback.quantize_by_rows(
        values.reshape(-1), (64, 20), (0.125, 1.0), classes, compensation, values.dtype
    )
    plain = feedback.quantize(
        values.reshape(-1), (64, 20), math.sqrt(0.125), compensation, values.dtype
    )
    errors = [metric.error(t.codebook[t.indices] - values.reshape(-1)) for t in (shared, plain)]
    assert errors[0] < 0.5 * errors[1]


@native
def test_max_takes_fewer_bytes_than_balanced_with_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    arrays = {"w": rng.standard_normal((200, 96)).astype(np.float32)}
    sensed = Sensed.of(arrays["w"], np.ones(200, np.float32), moments="x")
    calibration = Calibration({"w": sensed}, {"x": moments_of(rng, 96)}, 1e6, 1)
    sizes, errors = [], []
    for preset in ("balanced", "max"):
        recipe = dcz.Recipe(preset=preset, max_error=1e-4, calibration=calibration)
        report = dcz.save_file(arrays, tmp_path / "w.dcz", recipe)
        sizes.append(report.file_bytes)
        errors.append(report.output_error)
    assert report.tensors[0].coder == "mixed"
    assert sizes[1] < 0.97 * sizes[0]
    assert max(errors) <= 1e-4
