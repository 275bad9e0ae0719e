"""Where every bit of a packed file is: stages, streams, tensors, and the entropies that bound them.

The stages are those of Deep Compression (figure 1): after pruning, survivors in their own dtype
and gaps at fixed length; after sharing, indices at fixed length and codebooks; then coded; then
with everything that makes it a file.

Beside them stand the rate-distortion bounds of tensors that do not come back exactly.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import rd_bounds
from .description import Description
from .streams import StreamStatistics

_UNKNOWN = None, None


@dataclass(frozen=True, slots=True)
class MemberSummary:
    """What is known of a tensor before its frame is looked into.

    Attributes
    ----------
    name, dtype : str
    shape : tuple of int
    numel : int
    itemsize : int
        Bytes of one element.
    relative_error : float
        sum (w - w')**2 / sum w**2; 0 where the tensor is exact.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    numel: int
    itemsize: int
    relative_error: float


@dataclass(frozen=True, slots=True)
class FrameSummary:
    """A frame: its coder's name, its payload's size in bytes, what it holds and how."""

    coder: str
    payload_bytes: int
    members: Sequence[MemberSummary]
    description: Description


@dataclass(frozen=True, slots=True)
class Alias:
    """A tensor that is stored as another: its own name, the other's, and whether they were tied."""

    name: str
    alias_of: str
    tied: bool


@dataclass(frozen=True, slots=True)
class TensorReport:
    """One tensor.

    Attributes
    ----------
    name, dtype, shape, numel
        As in the checkpoint.
    nonzero : int
        Elements that are not zero.
    levels : int
        Values its codebook holds; 0 without one.
    coder : str
        Name of the frame's coder.
    bits : int
        What the tensor takes of its frame; a shared frame is divided by size.
    bound_bits : float
        The same at the streams' order-0 entropies, codebooks included.
    relative_error : float
    streams : tuple of StreamStatistics
        Those of its frame; in a shared frame they stand with the first tensor.
    alias_of : str or None
        The tensor that is stored in its place.
    gaussian_bits, laplacian_bits : float or None
        What a source of its variance needs at its error, see `bounds`; None for exact tensors.
    output_error : float or None
        Predicted relative error of the network's output; known when packing with a calibration.
    moved_bits : float or None
        Bits that calibration gave to the tensor (or took, if negative), by its curve.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    numel: int
    nonzero: int
    levels: int
    coder: str
    bits: int
    bound_bits: float
    relative_error: float
    streams: tuple[StreamStatistics, ...] = ()
    alias_of: str | None = None
    gaussian_bits: float | None = None
    laplacian_bits: float | None = None
    output_error: float | None = None
    moved_bits: float | None = None


@dataclass(frozen=True, slots=True)
class StageReport:
    """The model after one stage: bytes, ratio to the dense source, and bytes at entropy."""

    stage: str
    bytes: int
    ratio: float
    bound_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """A packed model.

    Attributes
    ----------
    source_bytes : int
        All tensors dense in their own dtype; tied ones once.
    file_bytes : int
    ratio : float
        source_bytes / file_bytes.
    relative_error : float
        sum (w - w')**2 / sum w**2 over floating-point tensors of two or more dimensions.
    stages, tensors
        In order.
    parts : mapping from str to int
        Where the file's bytes are; adds up to `file_bytes`.
    alternatives : mapping from str to int
        Bytes that other ways of packing would have given, where they were measured.
    metadata : mapping of str to str
        The user's own.
    slope : float or None
        The squared error that one bit more would have saved, where an aim decided it; known
        when packing only.
    approximate_bits : int
        What the tensors take that do not come back exactly.
    gaussian_bits, laplacian_bits : float
        What sources of their variances need at their total error, divided between them at will.
    output_error : float or None
        Predicted squared error of the network's outputs over their sum of squares; known when
        packing with a calibration only.
    counted_error : float or None
        The error that `Recipe.max_error` bounds, with what pruning adds; known when packing only.
    lost : mapping from a tensor's name to float
        What part of the tensor was lost, as its errors are counted; known when packing only.
    exact : mapping from a tensor's name to str
        Why tensors of several dimensions were kept as they are, or not counted.
    unpruned : tuple of str
        Tensors that a sparsity would have emptied, and that keep their weights instead.
    unseen : tuple of str
        Matrices that calibration saw no effect of, and that counted like the median tensor.
    """

    source_bytes: int
    file_bytes: int
    ratio: float
    relative_error: float
    stages: tuple[StageReport, ...]
    tensors: tuple[TensorReport, ...]
    parts: Mapping[str, int]
    alternatives: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    slope: float | None = None
    approximate_bits: int = 0
    gaussian_bits: float = 0.0
    laplacian_bits: float = 0.0
    output_error: float | None = None
    counted_error: float | None = None
    lost: Mapping[str, float] = field(default_factory=dict)
    exact: Mapping[str, str] = field(default_factory=dict)
    unpruned: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        table = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        table["unseen"], table["unpruned"] = list(self.unseen), list(self.unpruned)
        table["stages"] = [dataclasses.asdict(stage) for stage in self.stages]
        table["tensors"] = [_tensor_dict(tensor) for tensor in self.tensors]
        for name in ("parts", "alternatives", "metadata", "lost", "exact"):
            table[name] = dict(table[name])
        return table


def _tensor_dict(tensor: TensorReport) -> dict[str, Any]:
    table = {f.name: getattr(tensor, f.name) for f in dataclasses.fields(tensor)}
    table["shape"] = list(tensor.shape)
    table["streams"] = [
        {**dataclasses.asdict(stream), "coded_bits": stream.coded_bits} for stream in tensor.streams
    ]
    return table


def build_report(
    frames: Sequence[FrameSummary],
    aliases: Sequence[Alias],
    container: Mapping[str, int],
    *,
    order: Iterable[str],
    relative_error: float,
    metadata: Mapping[str, str],
) -> Report:
    """Put a report together.

    Parameters
    ----------
    frames, aliases
        All of the file.
    container : mapping from str to int
        Bytes of the file outside its frames, by what they are for.
    order : iterable of str
        The tensors' names as they are to be listed.
    relative_error : float
        Of the model.
    metadata : mapping of str to str
    """
    sources = _sources(frames)
    least = _least_bits(sources)
    rows = {row.name: row for frame in frames for row in _tensor_rows(frame, least)}
    dense = {m.name: m.numel * m.itemsize for frame in frames for m in frame.members}
    source_bytes = sum(dense.values())
    for alias in aliases:
        original = rows[alias.alias_of]
        rows[alias.name] = dataclasses.replace(
            original,
            name=alias.name,
            bits=0,
            bound_bits=0.0,
            streams=(),
            alias_of=alias.alias_of,
            gaussian_bits=None,
            laplacian_bits=None,
        )
        if not alias.tied:
            source_bytes += dense[alias.alias_of]
    parts = _sum_parts(frames) | dict(container)
    file_bytes = sum(parts.values())
    return Report(
        source_bytes=source_bytes,
        file_bytes=file_bytes,
        ratio=source_bytes / file_bytes,
        relative_error=relative_error,
        stages=_stages(frames, source_bytes, file_bytes),
        tensors=tuple(rows[name] for name in order),
        parts=parts,
        metadata=metadata,
        approximate_bits=sum(row.bits for row in rows.values() if row.relative_error > 0),
        gaussian_bits=rd_bounds.GAUSSIAN.total_bits(list(sources.values())),
        laplacian_bits=rd_bounds.LAPLACIAN.total_bits(list(sources.values())),
    )


def _sources(frames: Iterable[FrameSummary]) -> dict[str, rd_bounds.Source]:
    """The tensors that rate-distortion bounds can be given for, by name."""
    members = (
        (member, rd_bounds.source_of(moments, member.numel, member.relative_error))
        for frame in frames
        for member, moments in zip(frame.members, frame.description.moments, strict=False)
    )
    return {member.name: source for member, source in members if source is not None}


def _dense_bytes(frame: FrameSummary) -> int:
    return sum(member.numel * member.itemsize for member in frame.members)


def _sum_parts(frames: Sequence[FrameSummary]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for frame in frames:
        for part, size in frame.description.parts.items():
            parts[part] = parts.get(part, 0) + size
    return parts


def _least_bits(sources: Mapping[str, rd_bounds.Source]) -> dict[str, tuple[float, float]]:
    """Each source's bits by the two curves of `bounds`: a Gaussian's and a Laplacian's."""
    if not sources:
        return {}
    curves = rd_bounds.GAUSSIAN, rd_bounds.LAPLACIAN
    each = [curve.each_bits(list(sources.values())) for curve in curves]
    return dict(zip(sources, zip(*each, strict=True), strict=True))


def _tensor_rows(
    frame: FrameSummary, least: Mapping[str, tuple[float, float]]
) -> list[TensorReport]:
    weights = [member.numel * member.itemsize for member in frame.members]
    bits = apportion(8 * frame.payload_bytes, weights)
    bound = _bound_bits(frame)
    total = sum(weights) or 1
    return [
        TensorReport(
            name=member.name,
            shape=member.shape,
            dtype=member.dtype,
            numel=member.numel,
            nonzero=frame.description.nonzero[i],
            levels=frame.description.levels[i],
            coder=frame.coder,
            bits=bits[i],
            bound_bits=bound * weights[i] / total,
            relative_error=member.relative_error,
            streams=frame.description.streams if i == 0 else (),
            gaussian_bits=least.get(member.name, _UNKNOWN)[0],
            laplacian_bits=least.get(member.name, _UNKNOWN)[1],
        )
        for i, member in enumerate(frame.members)
    ]


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divide a whole number in proportion to weights so that the parts add up to it."""
    whole = sum(weights) or 1
    shares = []
    given = passed = 0
    for weight in weights:
        passed += weight
        shares.append(total * passed // whole - given)
        given += shares[-1]
    shares[-1] += total - given
    return shares


def _bound_bits(frame: FrameSummary) -> float:
    """Order-0 entropies, and the codebooks, which no entropy coder shortens."""
    if not frame.description.streams:
        return 8.0 * frame.payload_bytes
    entropy = sum(stream.entropy_bits for stream in frame.description.streams)
    # Order-0 entropy does not bound zstandard, which finds repetitions in byte planes.
    return min(entropy + 8 * frame.description.parts["codebooks"], 8.0 * frame.payload_bytes)


def _stages(
    frames: Sequence[FrameSummary], source_bytes: int, file_bytes: int
) -> tuple[StageReport, ...]:
    pruned = sum(_pruned_bits(frame, at_entropy=False) for frame in frames)
    pruned_bound = sum(_pruned_bits(frame, at_entropy=True) for frame in frames)
    shared = sum(_shared_bits(frame) for frame in frames)
    bound = sum(_bound_bits(frame) for frame in frames)
    coded = 8.0 * sum(frame.payload_bytes for frame in frames)
    sizes = [
        ("prune", pruned, pruned_bound),
        ("share", shared, bound),
        ("huffman", coded, bound),
        ("container", 8.0 * file_bytes, bound),
    ]
    return tuple(
        StageReport(
            stage,
            math.ceil(bits / 8),
            source_bytes / max(math.ceil(bits / 8), 1),
            math.ceil(least / 8),
        )
        for stage, bits, least in sizes
    )


def _pruned_bits(frame: FrameSummary, *, at_entropy: bool) -> float:
    """Survivors in full and their gaps; everything where zeros are not left out."""
    gaps = [s for s in frame.description.streams if s.stream == "gap"]
    if not gaps:
        return 8.0 * _dense_bytes(frame)
    survivors = sum(frame.description.nonzero) * 8.0 * frame.members[0].itemsize
    return survivors + sum(s.entropy_bits if at_entropy else s.fixed_bits for s in gaps)


def _shared_bits(frame: FrameSummary) -> float:
    """Indices and gaps at fixed length and codebooks; everything where nothing is shared."""
    if not any(frame.description.levels):
        return 8.0 * _dense_bytes(frame)
    fixed = sum(stream.fixed_bits for stream in frame.description.streams)
    return fixed + 8.0 * frame.description.parts["codebooks"]
