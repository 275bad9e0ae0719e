"""Makes the golden files, once for each release of the format: they are never made again.

    python tests/golden/make.py            refuses to overwrite
    python tests/golden/make.py --force    only before the format's first release

Beside each NAME.dcz stands NAME.json with what it must decode to: metadata, and of each tensor
dtype, shape, the name it is tied to, and the bytes (compressed, in base64).
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import dcz
from dcz.codec.calibration.record import Moments
from dcz.codec.calibration.sensitivity import Metric
from dcz.codec.encode import context_mixing, context_mixing_group, row_classes
from dcz.codec.share import uniform
from dcz.codec.share.shared_tensor import SharedTensor
from dcz.codec.share.trellis import feedback, per_row, quantize
from dcz.codec.share.trellis.feedback import Compensation
from dcz.formats.container.dtypes import DTYPES

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
import support_format  # noqa: E402

Tensors = dict[str, np.ndarray[Any, Any]]
CASES: dict[str, tuple[Callable[[], Tensors], dcz.Recipe | None, dict[str, str]]] = {}


FRAMES: dict[str, Callable[[], bytes]] = {}


def case(
    recipe: dcz.Recipe | None = None, metadata: dict[str, str] | None = None
) -> Callable[[Callable[[], Tensors]], Callable[[], Tensors]]:
    def register(make: Callable[[], Tensors]) -> Callable[[], Tensors]:
        CASES[make.__name__.replace("_", "-")] = make, recipe, metadata or {}
        return make

    return register


def frame(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """Register a file that is made of one frame, which no recipe asks for."""
    FRAMES[make.__name__.replace("_", "-")] = make
    return make


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@case()
def empty() -> Tensors:
    return {}


@case()
def every_dtype() -> Tensors:
    tensors = {}
    for row in DTYPES:
        raw = random(row.code).integers(0, 2 if row.name == "bool" else 256, 5 * row.itemsize)
        tensors[f"{row.name}.few"] = raw.astype(np.uint8).view(row.numpy)
        tensors[f"{row.name}.scalar"] = raw.astype(np.uint8).view(row.numpy)[:1].reshape(())
        tensors[f"{row.name}.none"] = np.zeros((2, 0, 3), row.numpy)
    return tensors


@case()
def special_values() -> Tensors:
    words = [0x7FC00001, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x807FFFFF, 0x7F7FFFFF]
    single = np.array(words, np.uint32).view(np.float32)
    half = np.array([0x7E01, 0xFE55, 0x7C00, 0xFC00, 0x8000, 1, 0x83FF, 0x7BFF], np.uint16)
    return {"single": single.reshape(2, 4), "half": half.view(np.float16).reshape(4, 2)}


@case()
def stored_bytes() -> Tensors:
    return {"noise": random(1).integers(0, 256, 300, dtype=np.uint8)}


@case()
def byte_planes() -> Tensors:
    generator = random(2)
    return {
        "steps": np.arange(900, dtype=np.int64) ** 2,
        "norm": generator.normal(1.0, 0.1, 400).astype(np.float32),
        "periodic": np.tile(generator.normal(size=97), 30),
        "complex": generator.normal(size=20) + 0j,
    }


@case()
def joined_planes() -> Tensors:
    generator = random(12)
    return {
        "brain": generator.normal(size=900).astype(ml_dtypes.bfloat16),
        "single": generator.normal(size=500).astype(np.float32),
        "double": generator.normal(size=90),
    }


@case()
def dense_one_stream() -> Tensors:
    return {"codes": random(3).binomial(14, 0.5, (30, 40)).astype(np.int8)}


@case()
def dense_eight_streams() -> Tensors:
    return {"codes": random(4).binomial(7, 0.4, (70, 71)).astype(np.uint8)}


@case()
def dense_many_blocks() -> Tensors:
    return {"constant": np.full((3, 70_001), 1.5), "other": np.full(70_000, 7, np.int32)}


@case()
def sparse_fillers() -> Tensors:
    weight = np.zeros(30_000, np.float32)
    weight[random(5).choice(30_000, 60, replace=False)] = 0.25
    return {"weight": weight.reshape(100, 300), "zero": np.zeros((200, 200), np.float16)}


@case()
def sparse_blocks() -> Tensors:
    weight = np.zeros(2**18 + 5000, np.int16)
    where = random(6).choice(weight.size, 500, replace=False)
    weight[where] = random(7).integers(-3, 4, 500)
    weight[-1] = weight[2**18] = 2
    return {"weight": weight}


@case(dcz.Recipe(levels=4200))
def sparse_wide_index() -> Tensors:
    weight = np.zeros(66_000, np.float16)
    values = np.arange(4600, dtype=np.uint16) + 0x3000
    weight[random(8).choice(66_000, 4600, replace=False)] = values.view(np.float16)
    return {"weight": weight.reshape(660, 100)}


@case()
def ties_and_copies() -> Tensors:
    weight = random(9).integers(0, 4, (20, 20)).astype(np.float32)
    return {
        "embedding": weight,
        "a.copy": weight.copy(),
        "head": weight,
        "bias": weight[0].copy(),
        "bias.same": weight[0].copy(),
    }


@case(metadata={"format": "pt", "naïve": "ä"})
def metadata_raw() -> Tensors:
    return {"x": np.arange(3, dtype=np.uint16)}


@case(metadata={f"key {i}": "the same text over and over" for i in range(60)})
def metadata_compressed() -> Tensors:
    return {"x": np.arange(3, dtype=np.uint16)}


@case(dcz.Recipe(bits=2, sparsity=0.5))
def groups() -> Tensors:
    generator = random(10)
    tensors: Tensors = {}
    for i in range(6):
        tensors[f"layers.{i}.weight"] = generator.normal(size=(16, 12)).astype(np.float32)
        tensors[f"layers.{i}.bias"] = generator.normal(size=16).astype(np.float32)
        tensors[f"layers.{i}.steps"] = np.array(i * 1000, np.int64)
        tensors[f"layers.{i}.none"] = np.zeros((0, 4), np.float32)
    return tensors


@case(dcz.Recipe(bits=3, rules=[dcz.Rule(pattern="half", bits=2)]))
def approximate() -> Tensors:
    generator = random(11)
    return {
        "single": generator.normal(size=(60, 50)).astype(np.float32),
        "double": generator.laplace(size=(40, 30)),
        "half": generator.normal(size=(50, 20)).astype(np.float16),
        "bias": generator.normal(size=4).astype(np.float32),
    }


@case()
def odd_names() -> Tensors:
    names = [
        "",
        "a\0b",
        "ä",
        "å",
        "模型.权重",
        "模型.权量",
        "line\nbreak",
        "x" * 200,
        "x" * 199 + "y",
    ]
    return {name: np.array([i], np.int8) for i, name in enumerate(names)}


def frame_of_classes(values: Any, dtype: str) -> bytes:
    """A file of one tensor that a grid shares and classes code."""
    flat = values.reshape(-1).astype(dtype).astype(np.float32)
    shared = uniform.quantize(flat, values.shape, 0.25, dtype=np.dtype(dtype))
    frame = row_classes.draft(shared, values.shape).encode()
    decoded = support_format.digest(shared.codebook[shared.indices].tobytes())
    code = next(row.code for row in DTYPES if row.name == dtype)
    return support_format.one(frame.coder, frame.payload, list(values.shape), code, decoded)


@frame
def classes_pairs() -> bytes:
    return frame_of_classes(random(12).laplace(scale=0.2, size=(31, 97)), "float32")


@frame
def classes_rows() -> bytes:
    scale = np.where(random(13).random(48) < 0.4, 0.0, np.geomspace(0.1, 3, 48))
    return frame_of_classes(random(14).normal(size=(48, 100)) * scale[:, None], "float16")


@frame
def classes_singles() -> bytes:
    return frame_of_classes(random(15).normal(scale=2, size=(50, 33)), "float64")


@frame
def classes_values() -> bytes:
    values = random(16).integers(0, 5, (64, 70)) * np.repeat([0, 1, 3, 9], 16)[:, None]
    codebook, indices = np.unique(values, return_inverse=True)
    shared = SharedTensor(indices.reshape(-1).astype(np.uint8), codebook.astype(np.int16), False)
    frame = row_classes.draft(shared, values.shape).encode()
    decoded = support_format.digest(values.astype(np.int16).tobytes())
    return support_format.one(frame.coder, frame.payload, [64, 70], 12, decoded)


def frame_of_trellis(values: Any, dtype: str, step: float, states: int) -> bytes:
    """A file of one tensor that a trellis shares and mixed contexts code."""
    flat = values.reshape(-1).astype(dtype)
    shared = quantize.quantize(flat.astype(np.float32), values.shape, step, states, flat.dtype)
    return frame_of_mixed(shared, values.shape)


def frame_of_mixed(shared: SharedTensor, shape: tuple[int, ...]) -> bytes:
    frame = context_mixing.encode(shared, shape)
    decoded = support_format.digest(shared.codebook[shared.indices].tobytes())
    code = next(row.code for row in DTYPES if row.numpy == shared.codebook.dtype)
    return support_format.one(frame.coder, frame.payload, list(shape), code, decoded)


@frame
def mixed_kernels() -> bytes:
    waves = np.cos(np.arange(9) * 0.7).reshape(3, 3)
    values = random(17).laplace(size=(16, 9, 1, 1)) * waves
    return frame_of_trellis(values + random(18).normal(size=values.shape) / 4, "float32", 0.2, 8)


@frame
def mixed_rows() -> bytes:
    scale = np.geomspace(0.02, 30, 30)[:, None] * np.geomspace(0.3, 3, 25)
    return frame_of_trellis(random(19).normal(size=(30, 25)) * scale, "float16", 0.3, 64)


@frame
def mixed_wide_levels() -> bytes:
    values = np.r_[random(20).standard_t(1, 300) * 20, 8000.0]
    return frame_of_trellis(values, "float64", 0.25, 4)


@frame
def mixed_codebook() -> bytes:
    return frame_of_few([-2.51, -1, 0, 1.57, 7.003])


@frame
def mixed_multiples() -> bytes:
    return frame_of_few([-0.2, -0.1, 0, 0.1, 0.3])


@frame
def mixed_row_steps() -> bytes:
    classes = random(24).permutation(np.arange(23) % 3).astype(np.uint8)
    steps = (0.05, 0.4, 3.0)
    values = random(25).laplace(size=(23, 2, 9)) * np.geomspace(0.2, 4, 23)[:, None, None]
    shared = per_row.quantize(
        values.astype(np.float32).reshape(-1), values.shape, steps, classes, 16, np.dtype("float16")
    )
    return frame_of_mixed(shared, values.shape)


@frame
def mixed_columns() -> bytes:
    generator = random(26)
    inputs = generator.normal(size=(90, 12)) @ generator.normal(size=(12, 12))
    moments = Moments.of((inputs.T @ inputs / 90)[None], None)
    factors = Metric(np.ones(40), moments).factors
    values = generator.normal(size=(40, 12)).astype(np.float32).reshape(-1)
    compensation = Compensation(32, factors or (), np.abs(values) < 0.3)
    shared = feedback.quantize(values, (40, 12), 0.25, compensation, np.dtype("float32"))
    return frame_of_mixed(shared, (40, 12))


@frame
def mixed_column_steps() -> bytes:
    generator = random(27)
    inputs = generator.normal(size=(90, 18)) @ generator.normal(size=(18, 18))
    moments = Moments.of((inputs.T @ inputs / 90)[None], None)
    factors = Metric(np.ones(37), moments).factors
    values = generator.laplace(size=(37, 2, 9)) * np.geomspace(0.2, 4, 37)[:, None, None]
    classes = generator.permutation(np.arange(37) % 3).astype(np.uint8)
    shared = feedback.quantize_by_rows(
        values.astype(np.float32).reshape(-1),
        values.shape,
        (0.05, 0.4, 3.0),
        classes,
        Compensation(16, factors or ()),
        np.dtype("float16"),
    )
    return frame_of_mixed(shared, values.shape)


def frame_of_few(values: list[float]) -> bytes:
    """A file of one tensor of five values, some of its columns zero."""
    weight = random(21).choice(
        np.array(values, np.float32), (40, 50), p=[0.02, 0.03, 0.9, 0.03, 0.02]
    )
    weight[:, 20:30] = 0
    codebook, indices = np.unique(weight, return_inverse=True)
    shared = SharedTensor(indices.reshape(-1).astype(np.uint8), codebook, False)
    return frame_of_mixed(shared, weight.shape)


def sparse(generator: np.random.Generator, *shape: int) -> Any:
    """Few small integers, and fewer in later columns."""
    likely = generator.random(shape) < np.geomspace(0.5, 0.1, shape[-1])
    return np.where(likely, generator.integers(-4, 5, shape), 0).astype(np.float32)


@case(dcz.Recipe(preset="max"))
def group_mixed() -> Tensors:
    generator = random(22)
    hidden = sparse(generator, 10, 28)
    hidden[:, 14:21] = hidden[6:] = 0
    hidden[:, np.arange(28) % 7 > 3] = 0
    return {
        "conv.weight": sparse(generator, 5, 2, 3, 3) * np.float32(0.0625),
        "conv.bias": sparse(generator, 5) * np.float32(0.123),
        "hidden.weight": hidden * np.float32(0.04),
        "hidden.bias": np.zeros(10, np.float32),
        "out.weight": sparse(generator, 4, 10) * np.float32(0.7),
        "out.bias": generator.choice(np.array([0.1, 0.2571, -1.7], np.float32), 12),
    }


@frame
def group_trellis() -> bytes:
    generator = random(23)
    values = [generator.laplace(size=shape) for shape in ((6, 4, 3), (9,), (5, 8))]
    shared = [
        quantize.quantize(v.reshape(-1), v.shape, 0.4, 8, np.dtype("float16")) for v in values
    ]
    frame = context_mixing_group.encode(shared, [v.shape for v in values])
    tensors = [
        support_format.Tensor(
            name,
            dtype=2,
            shape=list(v.shape),
            digest=support_format.digest(s.codebook[s.indices].tobytes()),
        )
        for name, v, s in zip((b"a", b"b", b"c"), values, shared, strict=True)
    ]
    return support_format.build(
        support_format.File([support_format.Frame(frame.coder, frame.payload)], tensors)
    )


def pack(name: str, path: Path) -> None:
    if name in FRAMES:
        path.write_bytes(FRAMES[name]())
        return
    make, recipe, metadata = CASES[name]
    if not metadata:
        dcz.save_file(make(), path, recipe, jobs=1)
        return
    from safetensors.numpy import save_file

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.safetensors"
        save_file(make(), source, metadata)
        dcz.pack(source, path, recipe, jobs=1)


def expectation(path: Path) -> dict[str, Any]:
    with dcz.open(path) as archive:
        tensors = {
            name: {
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "tied_to": archive.ties.get(name),
                "exact": archive.is_exact(name),
                "bytes": base64.b64encode(zlib.compress(array.tobytes(), 9)).decode(),
            }
            for name, array in archive.items()
        }
        return {"metadata": archive.metadata, "tensors": tensors}


def main() -> None:
    force = sys.argv[1:] == ["--force"]
    for name in [*CASES, *FRAMES]:
        path = HERE / f"{name}.dcz"
        if path.exists() and not force:
            sys.exit(f"{path} exists: golden files are never made again")
    for name in [*CASES, *FRAMES]:
        path = HERE / f"{name}.dcz"
        pack(name, path)
        text = json.dumps(expectation(path), indent=1, ensure_ascii=False)
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
