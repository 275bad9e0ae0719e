"""Arrays whose number of elements does not fit 31 or 32 bits."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from workers import Tally

import dcz

PIECE = 1 << 26
CASES = {
    "2^32 + 5 of int8": ((1 << 32) + 5, np.int8),
    "2^31 + 5 of float16": ((1 << 31) + 5, np.float16),
}


def round_trips(folder: Path, wanted: int) -> Tally:
    """Sparse files on disk, mapped into memory, packed and compared piece by piece."""
    tally = Tally()
    for name, (size, dtype) in CASES.items() if wanted else ():
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/tmp")) as disk:
            _round_trip(Path(disk), name, size, np.dtype(dtype), tally)
    return tally


def _round_trip(folder: Path, name: str, size: int, dtype: np.dtype, tally: Tally) -> None:
    source = np.lib.format.open_memmap(folder / "x.npy", "w+", dtype, (size,))
    places = np.random.default_rng(0).integers(0, size, 5000)
    places[:3] = 0, size - 1, 1 << 31
    source[places] = 1 + places % 7
    source.flush()
    dcz.pack(folder / "x.npy", folder / "x.dcz", dcz.Recipe(quantizer="lossless"), jobs=1)
    os.unlink(folder / "x.npy")  # what is mapped stays readable
    with dcz.open(folder / "x.dcz", jobs=1) as archive:
        (only,) = archive
        found = archive[only]
        same = found.shape == (size,) and found.dtype == dtype
        for start in range(0, size, PIECE):
            same = same and np.array_equal(
                found[start : start + PIECE], source[start : start + PIECE]
            )
    if same:
        tally.add(f"{name}, in {os.path.getsize(folder / 'x.dcz'):,} bytes")
    else:
        tally.fail(f"{name} came back changed")
