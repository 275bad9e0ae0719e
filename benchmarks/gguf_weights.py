"""Weights out of GGUF files, whose blocks hold them quantised.

Steps of a grid would show in every size. Weights are spread over their cells: each moves by a
uniform share of one step of its own grid, from a fixed seed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
# Blocks of GGUF's formats: how many bytes hold how many weights.
_BLOCKS = {
    "Q4_1": (20, 32),
    "Q5_0": (22, 32),
    "Q8_0": (34, 32),
    "Q4_K": (144, 256),
    "Q6_K": (210, 256),
}


def open_file(path: Path) -> Any:
    """Open a file with its own library, gguf."""
    return importlib.import_module("gguf").GGUFReader(path)


def strings(reader: Any, name: str) -> list[str]:
    """A list of texts among the file's settings."""
    field = reader.fields[name]
    return [bytes(field.parts[place]).decode() for place in field.data]


def numbers(reader: Any, name: str) -> list[float]:
    """A list of numbers among the file's settings."""
    field = reader.fields[name]
    return [float(field.parts[place][0]) for place in field.data]


def spread_weights(reader: Any) -> Iterator[tuple[str, Floats]]:
    """Each tensor's name and weights, moved by up to half a step of their grid either way."""
    generator = np.random.default_rng(0)
    for tensor in reader.tensors:
        yield tensor.name, _spread(tensor, generator)


def _spread(tensor: Any, generator: np.random.Generator) -> Floats:
    quants = importlib.import_module("gguf.quants")
    shape = tuple(int(extent) for extent in reversed(tensor.shape))
    weights = quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    if tensor.tensor_type.name == "F32":
        return np.ascontiguousarray(weights.reshape(shape))
    steps = _steps(tensor)
    flat = weights.reshape(len(steps), -1)
    shares = generator.uniform(-0.5, 0.5, flat.shape).astype(np.float32)
    return np.ascontiguousarray((flat + shares * steps).reshape(shape))


def _steps(tensor: Any) -> Floats:
    """Steps of the grids of the tensor's blocks: float32 (blocks, 1 or weights of a block)."""
    kind = tensor.tensor_type.name
    size, count = _BLOCKS[kind]
    blocks = np.ascontiguousarray(tensor.data).reshape(-1, size)
    if kind == "Q4_K":
        return np.repeat(_six_bits(blocks[:, 4:16]) * _halves(blocks[:, :2]), count // 8, axis=1)
    if kind == "Q6_K":
        # 16 whole numbers of 8 bits, one for each 16 weights, stand before the block's own step.
        scales = blocks[:, 192:208].copy().view(np.int8).astype(np.float32)
        return np.abs(np.repeat(scales * _halves(blocks[:, 208:]), count // 16, axis=1))
    return _halves(blocks[:, :2])


def _six_bits(packed: Bytes) -> Floats:
    """Scales of eight parts of a block, in 12 bytes together with what each part begins at.

    Four scales are the lower six bits of the first bytes. Of the others, four bits are the lower
    half of the last bytes, and the two above them the upper bits of the first bytes.
    """
    early, late = packed[:, :4], packed[:, 8:]
    return np.concatenate([early & 63, (late & 15) | (early >> 6 << 4)], 1).astype(np.float32)


def _halves(pairs: Bytes) -> Floats:
    return pairs.copy().view(np.float16).astype(np.float32)
