"""Small tensors coded as one by mixed contexts: back bit for bit, by FORMAT.md too."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dcz
from dcz.codec import kernels
from dcz.codec.decode import context_mixing_group, registry
from dcz.codec.encode import context_mixing_group as mixed_group
from dcz.codec.encode.frame import Frame
from dcz.codec.kernels.reference.decode import mixing as reference_mixed
from dcz.codec.kernels.reference.decode.mixing import Chunk
from dcz.codec.report.describe import describe
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.share.trellis import quantize
from dcz.codec.wire import arrays, reconstruction, trellis_states
from dcz.codec.wire.arrays import Member
from dcz.formats.container.dtypes import by_numpy

try:
    from dcz.codec.kernels.native import mixing
except ImportError:
    CODERS: list[ModuleType] = [reference_mixed]
else:
    CODERS = [reference_mixed, mixing]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
SLOW = pytest.mark.skipif(kernels.BACKEND != "c", reason="takes a minute without C")
shapes = st.lists(st.integers(1, 5), min_size=0, max_size=5).map(tuple)


@st.composite
def geometries(draw: st.DrawFn) -> Chunk:
    width = draw(st.integers(1, 3))
    kernel = width * draw(st.integers(1, 3))
    row = kernel * draw(st.integers(1, 5))
    return Chunk(0, draw(st.integers(0, 60)), row, kernel, width)


@settings(max_examples=40, deadline=None)
@given(
    chunks=st.lists(geometries(), min_size=1, max_size=4),
    density=st.sampled_from([0.0, 0.1, 0.9]),
    size=st.sampled_from([1, 6, 500]),
    seed=st.integers(0, 99),
)
def test_any_levels_come_back_and_both_backends_agree(
    chunks: list[Chunk], density: float, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = sum(chunk.numel for chunk in chunks)
    levels = (rng.random(count) < density) * rng.integers(-size, size + 1, count)
    positions = (2 * levels).astype(np.int32)
    coded = {coder.encode_mixed_group(positions, chunks, 1) for coder in CODERS}
    assert len(coded) == 1
    (data,) = coded
    for coder in CODERS:
        assert np.array_equal(coder.decode_mixed_group(data, chunks, 1), positions)


def test_both_backends_agree_on_more_tensors_than_have_contexts_of_their_own() -> None:
    rng = np.random.default_rng(1)
    chunks = [Chunk(0, 30, 6, 1 + 2 * (i % 2), 1) for i in range(40)]
    positions = 2 * rng.integers(-3, 4, 1200).astype(np.int32)
    coded = {coder.encode_mixed_group(positions, chunks, 1) for coder in CODERS}
    assert len(coded) == 1
    assert np.array_equal(CODERS[0].decode_mixed_group(coded.pop(), chunks, 1), positions)


@pytest.mark.parametrize("coder", CODERS, ids=lambda m: m.__name__.split(".")[-1])
def test_positions_that_do_not_fit_the_chunks_are_refused(coder: ModuleType) -> None:
    chunks = [Chunk(0, 3, 3, 1, 1), Chunk(0, 2, 1, 1, 1)]
    with pytest.raises(ValueError, match="differ in size"):
        coder.encode_mixed_group(np.zeros(6, np.int32), chunks, 1)
    with pytest.raises(ValueError, match="row"):
        coder.decode_mixed_group(b"", [*chunks, Chunk(0, 2, 0, 1, 1)], 1)
    with pytest.raises(ValueError, match="trellis"):
        coder.encode_mixed_group(np.array([0, 0, 0, 0, 1], np.int32), chunks, 1)


def sparse(rng: np.random.Generator, shape: Shape, dtype: Any) -> SharedTensor:
    """A tensor of few values: multiples of a step, or any."""
    levels = int(rng.integers(1, 6))
    numbers = rng.permutation(np.arange(-4, 5))[:levels]
    book = numbers * rng.choice([0.25, 0.11]) if rng.random() < 0.7 else rng.normal(size=levels)
    indices = rng.integers(0, levels, math.prod(shape)) * (rng.random(math.prod(shape)) < 0.5)
    return SharedTensor(indices.astype(np.uint8), book.astype(dtype), False)


def file_of(
    frame: Frame, tensors: list[SharedTensor], given: list[Shape], dczformat: ModuleType
) -> bytes:
    rows = [
        dczformat.Tensor(
            str(i).encode(),
            dtype=by_numpy(tensor.codebook.dtype).code,
            shape=list(shape),
            digest=dczformat.digest(tensor.codebook[tensor.indices].tobytes()),
        )
        for i, (tensor, shape) in enumerate(zip(tensors, given, strict=True))
    ]
    built = dczformat.File([dczformat.Frame(frame.coder, bytes(frame.payload))], rows)
    return bytes(dczformat.build(built))


def check(
    frame: Frame, tensors: list[SharedTensor], given: list[Shape], dczformat: ModuleType
) -> None:
    """The frame decodes to the tensors, here and by FORMAT.md alone."""
    pairs = zip(tensors, given, strict=True)
    members = [Member(t.codebook.dtype, t.indices.size, shape) for t, shape in pairs]
    decoder = registry.open_frame(frame.coder, memoryview(frame.payload), members)
    wanted = np.concatenate([t.codebook[t.indices] for t in tensors])
    out = np.empty_like(wanted)
    decoder.decode(0, out.size, out)
    assert out.tobytes() == wanted.tobytes()
    assert describe(decoder) == frame.description
    assert sum(frame.description.parts.values()) == len(frame.payload)
    found = dczformat.decode(file_of(frame, tensors, given, dczformat))
    assert b"".join(raw for _, _, raw in found.values()) == wanted.tobytes()


@settings(max_examples=40, deadline=None)
@given(
    given_shapes=st.lists(shapes, min_size=1, max_size=4),
    dtype=st.sampled_from([np.float32, np.float16, np.float64]),
    seed=st.integers(0, 999),
)
def test_tensors_of_few_values_come_back_together(
    given_shapes: list[Shape], dtype: Any, seed: int, dczformat: ModuleType
) -> None:
    rng = np.random.default_rng(seed)
    tensors = [sparse(rng, shape, dtype) for shape in given_shapes]
    check(mixed_group.encode(tensors, given_shapes), tensors, given_shapes, dczformat)


@settings(max_examples=20, deadline=None)
@given(
    given_shapes=st.lists(shapes, min_size=1, max_size=4),
    states=st.sampled_from(trellis_states.STATES),
    seed=st.integers(0, 999),
)
def test_tensors_along_one_trellis_come_back_together(
    given_shapes: list[Shape], states: int, seed: int, dczformat: ModuleType
) -> None:
    rng = np.random.default_rng(seed)
    tensors: list[SharedTensor] = [
        quantize.quantize(rng.laplace(size=math.prod(shape)), shape, 0.5, states, np.dtype("f4"))
        for shape in given_shapes
    ]
    check(mixed_group.encode(tensors, given_shapes), tensors, given_shapes, dczformat)


def test_rows_that_are_pictures_are_noticed(dczformat: ModuleType) -> None:
    rng = np.random.default_rng(3)
    pixel = np.hypot(*(np.mgrid[:14, :14] - 6.5)).reshape(-1)
    lines = np.arange(196) % 14
    alive = (pixel < 6) & ((lines == 3) | (lines == 9))
    weights = (rng.random((24, 196)) < 0.9) * alive * rng.choice([-0.5, 0.5], (24, 196))
    codebook, indices = np.unique(weights.astype(np.float32), return_inverse=True)
    tensor = SharedTensor(indices.reshape(-1).astype(np.uint8), codebook, False)
    frame = mixed_group.encode([tensor], [weights.shape])
    assert frame.payload[0] & context_mixing_group.OWN_GEOMETRY
    check(frame, [tensor], [weights.shape], dczformat)


def tiny_network(seed: int) -> dict[str, Array]:
    """Rows alive first, values on a grid a tensor, biases too."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for name, shape, rows, step in (("a", (12, 30), 7, 0.0625), ("b", (6, 12), 6, 0.15625)):
        weight = rng.integers(-4, 5, shape) * (rng.random(shape) < 0.2)
        weight[rows:] = 0
        bias = np.where(np.arange(shape[0]) < rows, rng.permutation(shape[0]) - 3, 0)
        tensors[f"{name}.weight"] = (weight * step).astype(np.float32)
        tensors[f"{name}.bias"] = (bias * step).astype(np.float32)
    return tensors


def test_a_network_with_its_biases_is_one_frame(tmp_path: Path) -> None:
    tensors = tiny_network(4)
    report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(preset="max"))
    assert {row.coder for row in report.tensors} == {"mixed-group"}
    assert report.relative_error == 0
    apart = sum(
        dcz.save_file({name: tensor}, tmp_path / "y.dcz", dcz.Recipe(preset="max")).file_bytes - 20
        for name, tensor in tensors.items()
    )
    assert report.file_bytes - 20 < 0.85 * apart
    with dcz.open(tmp_path / "x.dcz") as archive:
        assert archive["b.bias"].tobytes() == tensors["b.bias"].tobytes()
        assert archive.report().to_dict()["parts"] == report.to_dict()["parts"]
        for name in reversed(list(archive)):
            archive.verify(name)
            assert archive[name].tobytes() == tensors[name].tobytes()


def test_tensors_of_several_dtypes_keep_to_their_own(tmp_path: Path) -> None:
    tensors = tiny_network(5)
    tensors["half"] = tensors["a.weight"].astype(np.float16)
    tensors["count"] = np.arange(20)
    tensors["dense"] = np.random.default_rng(6).normal(size=50).astype(np.float32)
    dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(preset="max"))
    for name, array in dcz.load_file(tmp_path / "x.dcz").items():
        assert array.dtype == tensors[name].dtype
        assert array.tobytes() == tensors[name].tobytes(), name


def test_other_presets_do_not_mix(tmp_path: Path) -> None:
    for preset in ("paper", "balanced"):
        report = dcz.save_file(tiny_network(7), tmp_path / "x.dcz", dcz.Recipe(preset=preset))
        assert not any("mixed" in row.coder for row in report.tensors)


@SLOW
def test_a_frame_of_several_stays_within_its_limit(tmp_path: Path) -> None:
    side = math.isqrt(arrays.MAX_MIXED_GROUP)
    tensors = {str(i): np.zeros((side, side // 2 + i), np.float32) for i in range(3)}
    for i, tensor in enumerate(tensors.values()):
        tensor[i] = 0.5
    dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(preset="max"))
    for name, array in dcz.load_file(tmp_path / "x.dcz").items():
        assert array.tobytes() == tensors[name].tobytes(), name


@SLOW
def test_a_dead_network_takes_little_more_than_its_index(tmp_path: Path) -> None:
    sizes = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    tensors = {}
    for name, shape in sizes.items():
        tensors[f"{name}.weight"] = np.zeros(shape, np.float32)
        tensors[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(preset="max"))
    assert report.file_bytes < 200
    assert report.parts["indices"] < 10


def test_geometries_follow_from_shapes() -> None:
    assert reconstruction.Geometry.of((5, 2, 3, 4)) == reconstruction.Geometry(24, 12, 4)
    assert reconstruction.Geometry.of((1, 7, 3)) == reconstruction.Geometry(3, 1, 1)
    assert reconstruction.Geometry.of((2, 2**18 + 1)) == reconstruction.Geometry(1, 1, 1)
