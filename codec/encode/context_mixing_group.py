"""Writing several tensors as one code; `decode.context_mixing_group` has the layout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..decode.context_mixing_group import AS_BEFORE, OWN_GEOMETRY, SHORT
from ..kernels import mixing
from ..report.mixing import describe_tensors
from ..share.shared_tensor import SharedTensor
from ..share.tiny import TinyTensor
from ..share.trellis.quantize import TrellisTensor
from ..wire.coders import MIXING_GROUP
from ..wire.reconstruction import Geometry, Points, Positions, TrellisPoints
from . import context_mixing
from .frame import Frame

# Multiples of a step between the least and the greatest value, for each value.
SPREAD = 64
# Lengths of the lines of pixels, or the maps of filters, that rows of a matrix may consist of.
LONGEST_KERNEL = 64
# A geometry of its own takes up to five bytes.
LEAST_GAIN = 6


def states_of(tensor: SharedTensor | TinyTensor) -> int:
    """States of a tensor's trellis, 1 without one: those of a group are equal."""
    return tensor.states if isinstance(tensor, TrellisTensor) else 1


def encode(
    tensors: Sequence[SharedTensor | TinyTensor], shapes: Sequence[tuple[int, ...]]
) -> Frame:
    """Code shared tensors together.

    Parameters
    ----------
    tensors : sequence of SharedTensor or TinyTensor
        Of one dtype and equal `states_of`, with 1 to `MAX_MIXED_GROUP` elements together, and none
        of them empty.
    shapes : sequence of tuple of int
    """
    states = states_of(tensors[0])
    head = bytearray()
    before = None
    points, positions, chunks = [], [], []
    for tensor, shape in zip(tensors, shapes, strict=True):
        own, places = context_mixing.locate(tensor, SPREAD)
        searched = states == 1 and not isinstance(tensor, TinyTensor)
        geometry = _best_geometry(places, shape) if searched else Geometry.of(shape)
        head += _encode_head(own, before, geometry, shape)
        before = own
        points.append(own)
        positions.append(places)
        chunks.append(geometry.whole(places.size))
    code = mixing.encode_mixed_group(np.concatenate(positions), chunks, states)
    described = partial(describe_tensors, points, positions, len(head), len(code))
    return Frame(MIXING_GROUP, bytes(head) + code, described)


def _best_geometry(positions: Positions, shape: tuple[int, ...]) -> Geometry:
    """The shape's, or for a matrix one that finds the pixels or maps in its flattened rows."""
    plain = Geometry.of(shape)
    kernels_of_it = range(2, min(plain.row // 2, LONGEST_KERNEL) + 1) if plain.kernel == 1 else ()
    if not positions.any():
        return plain
    divisors = [kernel for kernel in kernels_of_it if plain.row % kernel == 0]
    others = [Geometry(plain.row, kernel, 1) for kernel in divisors]
    sizes = {
        geometry: len(mixing.encode_mixed_group(positions, [geometry.whole(positions.size)], 1))
        for geometry in [plain, *others]
    }
    best = min(sizes, key=lambda geometry: sizes[geometry])
    return best if sizes[best] + LEAST_GAIN <= sizes[plain] else plain


def _encode_head(
    points: Points, before: Points | None, geometry: Geometry, shape: tuple[int, ...]
) -> bytes:
    coded = points.encode()
    if before is not None and coded == before.encode():
        coded = bytes([AS_BEFORE])
    elif isinstance(points, TrellisPoints) and coded[1] == 0:
        coded = bytes([coded[0] | SHORT]) + coded[2:]
    if geometry == Geometry.of(shape):
        return coded
    return bytes([coded[0] | OWN_GEOMETRY]) + geometry.encode() + coded[1:]
