"""NNCodec's bytes and error at a quantization parameter, measured once and kept.

Points are kept in the benchmarks' cache folder under `nncodec-points`, by version, checkpoint and
qp. A checkpoint is known by a digest of its weights, so that another one under the same name is
measured anew. Times are not kept: they belong to one run.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import nncodec_bridge
from checkpoints import Arrays, cache_folder
from equal_error import Point

# What a step of qp multiplies the error by, about.
GROWTH = 1.39


def point(arrays: Arrays, qp: int) -> Point:
    """Return bytes and error at `qp`, from the cache where it has them."""
    path = _folder(arrays) / f"qp{qp}.json"
    if path.exists():
        return Point(**json.loads(path.read_text()))
    found = measure(arrays, qp)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps({"bytes": found.bytes, "error": found.error}))
    unfinished.replace(path)
    return found


def measure(arrays: Arrays, qp: int) -> Point:
    """Run NNCodec once."""
    result = nncodec_bridge.run(arrays, qp)
    return Point(result.bytes, nncodec_bridge.relative_error(arrays, result.arrays))


def _folder(arrays: Arrays) -> Path:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return cache_folder() / "nncodec-points" / nncodec_bridge.VERSION / digest.hexdigest()[:16]


def near(error: float) -> int:
    """Return the qp that gives about this error on most checkpoints."""
    return round(-20 + math.log(error / 0.04) / math.log(GROWTH))
