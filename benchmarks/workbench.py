"""The files that the speed benchmark works on: checkpoints, packed copies, made-up weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import numpy.typing as npt

import dcz

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

ROWS = 4096


@dataclass(slots=True)
class Workbench:
    """Where and how much to measure.

    Attributes
    ----------
    scratch : Path
        A folder for files that are deleted in the end.
    runs : int
        Rounds of each comparison.
    quick : bool
        Whether to leave out what takes minutes, and to make synthetic data smaller.
    """

    scratch: Path
    runs: int
    quick: bool
    _made: dict[str, Path] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The checkpoints."""
        return list(checkpoints.SOURCES)

    def source(self, name: str) -> Path:
        """Return the file of a checkpoint, as it was published."""
        return checkpoints.fetch(name)

    def arrays(self, name: str) -> Arrays:
        """Return a checkpoint's tensors, or the synthetic one."""
        if name == "synthetic":
            return {"weight": gaussian(self.synthetic_size)}
        return checkpoints.load(self.source(name))

    @property
    def synthetic_size(self) -> int:
        """Weights of the synthetic tensor."""
        return (4 if self.quick else 16) << 20

    def safetensors(self, name: str) -> Path:
        """Return a copy of a checkpoint that can be mapped into memory."""
        from safetensors.numpy import save_file

        path = self.scratch / f"{name}.safetensors"
        if not path.exists():
            save_file(self.arrays(name), path)
        return path

    def packed(self, name: str, **settings: Any) -> Path:
        """Return a packed checkpoint, made on the first call for these settings."""
        label = "-".join([name, *(f"{key}-{value}" for key, value in settings.items())])
        if label not in self._made:
            path = self.scratch / f"{label}.dcz"
            dcz.save_file(self.arrays(name), path, dcz.Recipe(**settings), jobs=1)
            self._made[label] = path
        return self._made[label]


def gaussian(size: int, seed: int = 0) -> Array:
    """Return fp32 weights of a normal distribution as a matrix, made without a large copy."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal(size, dtype=np.float32).reshape(ROWS, -1)
