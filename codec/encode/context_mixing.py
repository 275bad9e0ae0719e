"""Writing positions by mixed contexts; `decode.context_mixing` has the layout."""

from __future__ import annotations

import numpy as np

from ..kernels import mixing
from ..report.mixing import Layout, PositionCounts, describe_layout, values_in_use
from ..share import find_step
from ..share.shared_tensor import SharedTensor
from ..share.tiny import TinyTensor
from ..share.trellis.feedback import ColumnRowTrellisTensor, ColumnTrellisTensor
from ..share.trellis.per_row import RowTrellisTensor
from ..share.trellis.quantize import TrellisTensor
from ..wire.arrays import is_floating
from ..wire.coders import MIXING
from ..wire.reconstruction import (
    BY_COLUMNS,
    CodebookPoints,
    Geometry,
    Points,
    Positions,
    RowPoints,
    TrellisPoints,
    column_by_column,
)
from ..wire.varint import encode_varint
from .frame import Frame


def codable(tensor: SharedTensor) -> bool:
    """Whether a tensor is within what this coder can hold: some elements, some levels."""
    return tensor.indices.size > 0 and tensor.codebook.size > 0


def encode(tensor: SharedTensor, shape: tuple[int, ...]) -> Frame:
    """Code one shared tensor.

    Parameters
    ----------
    tensor : SharedTensor
        With at least one element; one that a trellis shares keeps its steps.
    shape : tuple of int
        Of the tensor.
    """
    points, positions = locate(tensor, find_step.SPREAD)
    geometry, head = Geometry.of(shape), points.encode()
    if isinstance(tensor, ColumnTrellisTensor | ColumnRowTrellisTensor):
        positions, geometry = tensor.positions_by_columns, Geometry(tensor.rows, 1, 1)
        head = bytes([head[0] | BY_COLUMNS]) + head[1:]
        points = column_by_column(points, tensor.rows, positions.size)
    coded = [
        mixing.encode_mixed(positions[c.start : c.start + c.numel], c, points.states)
        for c in geometry.chunks(positions.size)
    ]
    framing = geometry.encode() + b"".join(encode_varint(len(data)) for data in coded)
    layout = Layout(len(head), len(framing), sum(len(data) for data in coded))
    counts = PositionCounts()
    counts.add(points, positions, 0)
    return Frame(
        MIXING,
        b"".join([head, framing, *coded]),
        describe_layout(layout, *values_in_use(points, counts)),
    )


def locate(tensor: SharedTensor | TinyTensor, spread: int) -> tuple[Points, Positions]:
    """A tensor's points, and the position of each element; see `multiples.find` for `spread`."""
    if isinstance(tensor, TinyTensor):
        return TrellisPoints(tensor.step, 1, tensor.dtype), tensor.positions
    if isinstance(tensor, TrellisTensor):
        points = TrellisPoints(tensor.step, tensor.states, tensor.codebook.dtype)
        return points, tensor.positions
    if isinstance(tensor, RowTrellisTensor):
        dtype = tensor.codebook.dtype
        return RowPoints(tensor.steps, tensor.runs, tensor.states, dtype), tensor.positions
    book = tensor.codebook
    found = find_step.find(book, spread)
    if found is not None:
        return TrellisPoints(found[0], 1, book.dtype), found[1][tensor.indices]
    by_value = book.astype(np.float64) if is_floating(book.dtype) else book
    order = np.argsort(by_value, kind="stable")
    zero = int(np.argmin(np.abs(by_value[order])))
    places = 2 * (np.argsort(order) - zero).astype(np.int32)
    return CodebookPoints(book[order], zero), places[tensor.indices]
