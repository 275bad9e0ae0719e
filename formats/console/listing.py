"""A file's tensors as plain lines: quick to make, for `inspect` must start at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..container.tensor_info import TensorInfo
from ..terminal import printable


def listing(rows: Iterable[tuple[TensorInfo, str]], metadata: Iterable[tuple[str, str]]) -> str:
    """Names, shapes and dtypes of a file's tensors, each with a remark, and the metadata."""
    table = [("tensor", "shape", "dtype", "bytes", "")]
    table += [
        (
            printable(info.name),
            shape_text(info.shape),
            info.dtype.name,
            f"{info.nbytes:,}",
            printable(remark),
        )
        for info, remark in rows
    ]
    pairs = [(printable(key), printable(value)) for key, value in metadata]
    return "\n".join(_columns(table) + ["", *_columns(pairs)] * bool(pairs))


def shape_text(shape: tuple[int, ...]) -> str:
    """Sizes with crosses between them."""
    return "x".join(map(str, shape)) or "scalar"


def _columns(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table)
    return [line.rstrip() for line in lines]
