"""Classes of rows with half steps of their own: back bit for bit, and fewer bytes."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_payloads import check_by_both_decoders, decode

import dcz
from dcz.codec import kernels
from dcz.codec.calibration.record import Calibration, Sensed
from dcz.codec.decode import context_mixing
from dcz.codec.encode import context_mixing as mixed
from dcz.codec.errors import CorruptError
from dcz.codec.kernels import mixing
from dcz.codec.report.describe import describe
from dcz.codec.report.mixing import PositionCounts
from dcz.codec.share.trellis import per_row, quantize
from dcz.codec.share.trellis.per_row import RowTrellisTensor
from dcz.codec.wire import trellis_states
from dcz.codec.wire.arrays import Member
from dcz.codec.wire.reconstruction import BY_ROWS, MULTIPLES, Geometry, RowPoints, TrellisPoints
from dcz.codec.wire.row_classes import Runs

Array = npt.NDArray[Any]
native = pytest.mark.skipif(kernels.BACKEND != "c", reason="takes minutes without C")


def scaled_rows(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    scales = np.exp(rng.normal(size=(shape[0], 1)))
    return (scales * rng.laplace(size=(shape[0], math.prod(shape[1:])))).astype(np.float32)


def every_class(rng: np.random.Generator, rows: int, count: int) -> npt.NDArray[np.uint8]:
    return rng.permutation(np.arange(rows) % count).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(2, 8), (3, 11), (7, 2, 5), (16, 9), (5, 2, 3, 3), (4, 1, 2, 5)]),
    dtype=st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]),
    states=st.sampled_from([8, 64]),
    count=st.integers(2, 16),
    seed=st.integers(0, 99),
)
def test_rows_with_steps_of_their_own_come_back(
    shape: tuple[int, ...], dtype: Any, states: int, count: int, seed: int, dczformat: ModuleType
) -> None:
    rng = np.random.default_rng(seed)
    count = min(count, shape[0])
    steps = np.exp(2 * rng.normal(size=count)).tolist()
    shared = per_row.quantize(
        scaled_rows(rng, shape).reshape(-1),
        shape,
        steps,
        every_class(rng, shape[0], count),
        states,
        np.dtype(dtype),
    )
    check_by_both_decoders(shared, shape, dczformat)


def test_one_step_for_all_is_the_trellis_of_that_step() -> None:
    rng = np.random.default_rng(1)
    values = scaled_rows(rng, (12, 30)).reshape(-1)
    classes = every_class(rng, 12, 3)
    for step in (0.25, 1.0):
        by_rows = per_row.quantize(values, (12, 30), 3 * [step], classes, 16)
        plain = quantize.quantize(values, (12, 30), step, 16)
        assert np.array_equal(by_rows.positions, plain.positions)
        assert np.array_equal(by_rows.codebook[by_rows.indices], plain.codebook[plain.indices])


def test_errors_follow_the_steps_and_zeros_stay() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(60, 40)).astype(np.float32)
    values[:, ::7] = 0
    classes = (np.arange(60) % 3).astype(np.uint8)
    steps = (0.01, 0.04, 0.16)
    shared = per_row.quantize(values.reshape(-1), values.shape, steps, classes, 8)
    out = shared.codebook[shared.indices].reshape(values.shape)
    assert np.all(out[values == 0] == 0)
    for number, step in enumerate(steps):
        error = np.mean((out - values)[classes == number][:, 1:7] ** 2)
        assert 0.15 * step**2 < error < 0.35 * step**2


def test_multiples_of_steps_by_rows_decode() -> None:
    """Without a trellis: no quantizer makes these, but the format has them."""
    rng = np.random.default_rng(3)
    runs = Runs(10, every_class(rng, 9, 4))
    steps = np.array([0.1, 0.25, 1e-30, 3e38], np.float32)
    points = RowPoints(steps, runs, 1, np.dtype(np.float32))
    positions = 2 * rng.integers(-9, 10, 90).astype(np.int32)
    geometry = Geometry(10, 1, 1)
    (chunk,) = geometry.chunks(90)
    data = mixing.encode_mixed(positions, chunk, 1)
    payload = points.encode() + geometry.encode() + bytes([len(data)]) + data
    assert payload[0] == BY_ROWS | MULTIPLES
    with np.errstate(over="ignore"):
        wanted = (positions * np.repeat(steps[runs.classes].astype(float), 10)).astype(np.float32)
    assert np.array_equal(
        decode(context_mixing.Decoder, payload, Member(np.dtype("f4"), 90)), wanted
    )


def test_a_report_takes_memory_for_positions_in_use_alone() -> None:
    runs = Runs(8, (np.arange(32) % 16).astype(np.uint8))
    points = RowPoints(np.ones(16, np.float32), runs, 1, np.dtype(np.float32))
    geometry = Geometry(8, 1, 1)
    (chunk,) = geometry.chunks(256)
    data = mixing.encode_mixed(np.zeros(256, np.int32), chunk, 1)
    payload = points.encode() + geometry.encode() + bytes([len(data)]) + data
    decoder = context_mixing.Decoder(memoryview(payload), [Member(np.dtype("f4"), 256)])
    tracemalloc.start()
    try:
        describe(decoder)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_positions_that_no_encoder_gives_a_tensor_are_too_many_to_count() -> None:
    points = TrellisPoints(1.0, 1, np.dtype(np.float32))
    counts = PositionCounts()
    counts.add(points, np.arange(65_536, dtype=np.int32), 0)
    with pytest.raises(CorruptError, match="multiples"):
        counts.add(points, np.array([-1], np.int32), 65_536)


@native
def test_chunks_that_end_within_a_row_decode_alone() -> None:
    rng = np.random.default_rng(4)
    rows, length = trellis_states.CHUNK // 1000 + 3, 1000
    values = (rng.random((rows, length)) < 0.02) * rng.normal(size=(rows, length))
    classes = every_class(rng, rows, 5)
    shared = per_row.quantize(
        values.astype(np.float32).reshape(-1), (rows, length), (0.1, 0.2, 0.4, 0.8, 1.6), classes, 4
    )
    frame = mixed.encode(shared, (rows, length))
    decoder = context_mixing.Decoder(memoryview(frame.payload), [shared.member])
    whole = shared.codebook[shared.indices]
    assert trellis_states.CHUNK % length
    for start in range(0, whole.size, decoder.unit):
        out = np.empty(min(decoder.unit, whole.size - start), np.float32)
        decoder.decode(start, start + out.size, out)
        assert np.array_equal(out, whole[start : start + out.size])
    assert describe(decoder) == frame.description


@pytest.mark.parametrize("steps", [(0.0, 1.0), (1.0, math.inf), (1.0, math.nan), (1e-6, 1.0)])
def test_steps_that_make_no_trellis_are_refused(steps: tuple[float, float]) -> None:
    classes = np.array([0, 1, 1], np.uint8)
    with pytest.raises(ValueError, match="step"):
        per_row.quantize(np.ones(30), (3, 10), steps, classes)


def test_steps_of_too_many_multiples_are_refused() -> None:
    values = np.full((2, 10), 40_000, np.float32)
    values[:, ::2] = -40_000
    with pytest.raises(ValueError, match="multiples"):
        per_row.quantize(values.reshape(-1), (2, 10), (1.0, 2.0), np.array([0, 1], np.uint8), 8)


def embedding(rows: int, length: int) -> tuple[dict[str, Array], Calibration]:
    """An embedding whose rows count the less the later they stand."""
    array = np.random.default_rng(6).standard_normal((rows, length)).astype(np.float32)
    sensed = Sensed.of(array, np.geomspace(1000, 1, rows).astype(np.float32))
    return {"e": array}, Calibration({"e": sensed}, {}, 1e7, 1)


def output_error(path: Path, arrays: dict[str, Array], calibration: Calibration) -> float:
    """As it is predicted, each row having a tenth of the mean sensitivity."""
    changes = (dcz.load_file(path)["e"] - arrays["e"]).astype(np.float64)
    rows = calibration.tensors["e"].rows.astype(np.float64)
    sensitivities = 0.9 * rows + 0.1 * rows.mean()
    return float(sensitivities @ np.sum(changes**2, axis=1)) / calibration.energy


@native
def test_max_takes_fewer_bytes_than_balanced_at_equal_output_error(tmp_path: Path) -> None:
    arrays, calibration = embedding(400, 200)
    sizes, path = [], tmp_path / "e.dcz"
    for preset in ("balanced", "max"):
        recipe = dcz.Recipe(preset=preset, max_error=3e-4, calibration=calibration)
        report = dcz.save_file(arrays, path, recipe)
        assert output_error(path, arrays, calibration) == pytest.approx(report.output_error, 1e-4)
        sizes.append(report.file_bytes)
    assert report.tensors[0].coder == "mixed"
    assert sizes[1] < 0.95 * sizes[0]


@native
def test_steps_too_fine_to_be_told_apart_give_one_for_all(tmp_path: Path) -> None:
    """Or the original, where that is smaller: what is asked for holds."""
    arrays, calibration = embedding(40, 20)
    path = tmp_path / "e.dcz"
    for error in (1e-13, 1e-9):
        recipe = dcz.Recipe(preset="max", max_error=error, states=4, calibration=calibration)
        dcz.save_file(arrays, path, recipe)
        assert output_error(path, arrays, calibration) <= error


@native
def test_small_tensors_with_steps_by_rows_stay_alone(tmp_path: Path, dczformat: ModuleType) -> None:
    """Frames of several tensors hold none."""
    draw = np.random.default_rng(7)
    arrays = {
        "e": draw.standard_normal((100, 30)).astype(np.float32),
        "other": draw.standard_normal((8, 9)).astype(np.float32),
    }
    rows = {"e": np.where(np.arange(100) % 20, 1, 1000), "other": np.ones(8)}
    tensors = {name: Sensed.of(arrays[name], rows[name].astype(np.float32)) for name in arrays}
    calibration = Calibration(tensors, {}, 1e6, 1)
    path = tmp_path / "e.dcz"
    recipe = dcz.Recipe(preset="max", max_error=1e-3, states=4, calibration=calibration)
    dcz.save_file(arrays, path, recipe)
    kinds = {f.payload[0] for f in dczformat.parse(path.read_bytes()).frames if f.coder == 6}
    assert BY_ROWS | 2 in kinds
    assert output_error(path, arrays, calibration) < 1e-3


def test_quantized_tensors_are_shared_tensors() -> None:
    """Entries of the codebook, class by class, are the values that the decoder computes."""
    rng = np.random.default_rng(8)
    shared = per_row.quantize(
        scaled_rows(rng, (6, 12)).reshape(-1), (6, 12), (0.1, 0.7), every_class(rng, 6, 2), 4
    )
    assert isinstance(shared, RowTrellisTensor)
    points, positions = mixed.locate(shared, 2)
    assert isinstance(points, RowPoints)
    assert np.array_equal(points.values(positions), shared.codebook[shared.indices])
    for start in range(0, 72, 5):
        part = points.values(positions[start : start + 7], start)
        assert np.array_equal(part, shared.codebook[shared.indices][start : start + 7])
