"""What frames of byte planes hold: the symbols of each plane, and how often they occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..decode import byte_planes, stored
from ..decode.plane_methods import JOINED, LOW_BITS, CodedPlane, decode_planes
from ..entropy import entropy_bits, fixed_bits
from ..kernels import coding
from ..kernels import planes as kernels
from ..wire.arrays import AnyArray, numel, split
from .description import Description, Parts, count_nonzero
from .streams import StreamStatistics


class PlaneCounts(NamedTuple):
    """What a plane's symbols are, how often each occurs, and its bytes of the payload."""

    stream: str
    counts: AnyArray
    size: int


def count_planes(planes: list[CodedPlane]) -> list[PlaneCounts]:
    """The planes' symbols, counted as `encode_planes` counts them."""
    counted = []
    decoded = [np.frombuffer(plane, np.uint8) for plane in decode_planes(planes)]
    for number, plane in enumerate(planes):
        symbols: AnyArray = np.broadcast_to(decoded[number], plane.symbols)
        stream, alphabet = "", 256
        if plane.method == LOW_BITS:
            stream, alphabet = f"-low-{plane.parameter}", 1 << plane.parameter
            symbols = symbols & np.uint8(alphabet - 1)
        elif plane.method == JOINED:
            low_bits = planes[number - 1].parameter
            stream, alphabet = f"-joined-{8 - low_bits}", 256 << 8 - low_bits
            symbols, _ = kernels.pair_symbols(decoded[number - 1], symbols, low_bits)
        counts = coding.count_symbols(symbols, alphabet)
        counted.append(PlaneCounts(stream, counts, plane.size))
    return counted


@dataclass(slots=True)
class PlaneStatistics:
    """Counts the planes of all chunks together."""

    counts: dict[str, AnyArray] = field(default_factory=dict)
    coded: dict[str, int] = field(default_factory=dict)

    def add(self, chunk: Sequence[PlaneCounts]) -> None:
        """Count the planes of a chunk."""
        for number, plane in enumerate(chunk):
            name = f"plane-{number}{plane.stream}"
            self.counts[name] = self.counts.get(name, 0) + plane.counts
            self.coded[name] = self.coded.get(name, 0) + plane.size

    def streams(self) -> tuple[StreamStatistics, ...]:
        """Statistics of each plane."""
        return tuple(self._stream(name) for name in self.counts)

    def _stream(self, name: str) -> StreamStatistics:
        counts = self.counts[name]
        symbols = int(counts.sum())
        entropy = entropy_bits(counts)
        return StreamStatistics(
            stream=name,
            symbols=symbols,
            alphabet=counts.size,
            fixed_bits=fixed_bits(symbols, counts.size),
            entropy_bits=entropy,
            kl_bits=8 * self.coded[name] - entropy,
            table_bits=0,
            framing_bits=0,
        )


def describe_planes(frame: byte_planes.Decoder) -> Description:
    """Sizes and order-0 entropies of the planes; decodes every symbol."""
    statistics = PlaneStatistics()
    for chunk in frame.chunks:
        statistics.add(count_planes(chunk))
    parts = Parts()
    parts.add("lossless", frame.size)
    flat = np.empty(numel(frame.members), frame.members[0].dtype)
    frame.decode(0, flat.size, flat)
    nonzero = tuple(count_nonzero(part) for part in split(flat, frame.members))
    return Description(parts.sizes, statistics.streams(), (0,) * len(frame.members), nonzero)


def describe_stored(frame: stored.Decoder) -> Description:
    """Sizes; stored bytes have no streams."""
    flat = np.empty(numel(frame.members), frame.members[0].dtype)
    frame.decode(0, flat.size, flat)
    parts = Parts()
    parts.add("lossless", len(frame.payload))
    levels = (0,) * len(frame.members)
    return Description(
        parts.sizes,
        (),
        levels,
        tuple(count_nonzero(part) for part in split(flat, frame.members)),
    )
