"""The worked example of FORMAT.md is what the encoder writes and what it says it is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import dcz

PAGE = Path(dcz.__file__).parent / "formats" / "FORMAT.md"
ROWS = [
    [0.5, 0.5, -0.25, 0.5],
    [0.5, -0.25, 0.5, 0.5],
    [0.5, 0.5, 0.5, 1.0],
    [-0.25, 0.5, 0.5, 0.5],
]
TENSOR = np.array(ROWS * 4, np.float32)


def example() -> bytes:
    (block,) = re.findall(r"```\n((?:[0-9a-f]{2}[ \n])+)```", PAGE.read_text(encoding="utf-8"))
    return bytes.fromhex(block)


def test_the_example_decodes_to_its_tensor(tmp_path: Path) -> None:
    path = tmp_path / "example.dcz"
    path.write_bytes(example())
    (found,) = dcz.load_file(path).values()
    assert found.dtype == TENSOR.dtype
    assert found.tobytes() == TENSOR.tobytes()


def test_the_encoder_writes_the_example(tmp_path: Path) -> None:
    path = tmp_path / "packed.dcz"
    dcz.save_file({"w": TENSOR}, path)
    assert path.read_bytes() == example()
