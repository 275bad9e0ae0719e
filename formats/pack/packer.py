"""One file out of one plan for each tensor: encoded side by side, written in order."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import BinaryIO

from ...codec import grouping, pipeline, weights
from ...codec.calibration.bias_correction import Correction
from ...codec.calibration.sensitivity import Floats
from ...codec.encode.frame import Frame
from ...codec.pipeline import EncodedTensor
from ...codec.rate.survey import SMALL
from ...codec.report.description import Described, Description, description_of
from ...codec.share.tiny import TinyTensor
from ...codec.tensor_plan import TensorPlan
from ...codec.wire.arrays import is_floating
from ..container.digest import CHUNK, combine, tensor_digest
from ..container.index import Index, TensorEntry
from .sources import Source, Sources
from .writer import ContainerWriter

Progress = Callable[[str, int], None]

# Tensors are encoded side by side as long as they are small together, or no more than two of the
# largest: encoding takes about as much memory as the tensors themselves.
_BYTES_AT_ONCE = 3 << 24
_TASKS_AT_ONCE = 128
_BATCH_BYTES = 1 << 18
_WORTH_A_THREAD = 8192

Planned = tuple[Source, TensorPlan]
Task = Callable[[], list["Result"]]


@dataclass(slots=True)
class Result:
    """A source with what became of it, until it is written."""

    source: Source
    tensor: EncodedTensor
    digest: int


# Of the attempt before, by the tensors' names: small ones, and what their plans were.
Kept = dict[str, tuple[TensorPlan, Result]]


@dataclass(slots=True)
class Errors:
    """Sums the model's error as the tensors come: as it is counted, and of all weights alike."""

    counted: float = 0.0
    squared: float = 0.0
    energy: float = 0.0

    def add(self, result: Result) -> None:
        """Count a tensor; as a part of all weights if it is a matrix of floats."""
        self.counted += result.tensor.counted_error
        if len(result.source.shape) > 1 and is_floating(result.source.dtype):
            self.squared += result.tensor.squared_error
            energy = result.tensor.energy
            self.energy += weights.energy(result.tensor.array) if energy is None else energy

    @property
    def relative(self) -> float:
        """Of the weights, over their sum of squares."""
        return self.squared / self.energy if self.energy else 0.0


@dataclass
class Packer:
    """Writes one file: tensors in order, small ones held back until they fill a frame."""

    sources: Sources
    stream: BinaryIO
    jobs: int | None
    progress: Progress | None
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    counted_errors: dict[str, float] = field(default_factory=dict)
    entries: dict[str, TensorEntry] = field(default_factory=dict)
    _described: list[Described] = field(default_factory=list)
    groups: dict[tuple[object, ...] | None, list[Result]] = field(default_factory=dict)
    group_sizes: dict[tuple[object, ...] | None, int] = field(default_factory=dict)
    errors: Errors = field(default_factory=Errors)
    lossy: bool = True
    kept: Kept = field(default_factory=dict)

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each tensor stands in the checkpoint."""
        return {name: place for place, name in enumerate(self.sources.checkpoint.tensors)}

    @property
    def descriptions(self) -> list[Description]:
        """Of the frames that were written."""
        return [description_of(described) for described in self._described]

    def run(self, plans: Sequence[TensorPlan]) -> None:
        """Encode all tensors by their plans, and write the file."""
        writer = ContainerWriter(self.stream)
        self.lossy = any(plan.share for plan in plans)
        shifts: dict[str, Floats] = {}
        for result in self._encoded(*self._uncorrected(plans)):
            self._add(writer, result)
            if result.tensor.shift is not None:
                shifts[result.source.name] = result.tensor.shift
        for source, tensor_plan in zip(self.sources.stored, plans, strict=True):
            if source.name in self.corrections:
                self._add(writer, self._corrected(source, tensor_plan, shifts))
        for group in self.groups.values():
            self._write_group(writer, group)
        writer.finish(self._index(writer))

    def _uncorrected(
        self, plans: Sequence[TensorPlan]
    ) -> tuple[Sequence[Source], Sequence[TensorPlan]]:
        pairs = zip(self.sources.stored, plans, strict=True)
        kept = [(s, p) for s, p in pairs if s.name not in self.corrections]
        return [s for s, _ in kept], [p for _, p in kept]

    def _corrected(
        self, source: Source, tensor_plan: TensorPlan, shifts: Mapping[str, Floats]
    ) -> Result:
        """Encode a tensor that makes up for what was done to others."""
        correction = self.corrections[source.name]
        if correction.weight not in shifts:
            return encode_each([(source, tensor_plan)])[0]
        array = correction.apply(source.read(), shifts[correction.weight])
        return encode_each([(dataclasses.replace(source, given=array), tensor_plan)])[0]

    def _add(self, writer: ContainerWriter, result: Result) -> None:
        if self.lossy:
            self.errors.add(result)
        self.counted_errors[result.source.name] = result.tensor.counted_error
        self._place(writer, result)
        if self.progress is not None:
            self.progress(result.source.name, result.source.info.nbytes)

    def _encoded(self, sources: Sequence[Source], plans: Sequence[TensorPlan]) -> Iterator[Result]:
        """Encode side by side what is small together, and give the results in order."""
        jobs = self.jobs or os.cpu_count() or 1
        pairs = list(zip(sources, plans, strict=True))
        if jobs == 1:
            for _, batch in _batches(pairs):
                yield from self._encode_batch(batch)
            return
        waiting: deque[tuple[int, Task]] = deque()
        in_flight = 0
        limit = max(_BYTES_AT_ONCE, 2 * max((s.info.nbytes for s in sources), default=0))
        with ThreadPoolExecutor(jobs, thread_name_prefix="dcz") as threads:
            for size, batch in _batches(pairs):
                while waiting and (in_flight + size > limit or len(waiting) >= _TASKS_AT_ONCE):
                    done, task = waiting.popleft()
                    in_flight -= done
                    yield from task()
                waiting.append((size, self._start(threads, batch)))
                in_flight += size
            for _, task in waiting:
                yield from task()

    def _start(self, threads: ThreadPoolExecutor, batch: Sequence[Planned]) -> Task:
        """Begin to encode tensors; what is returned waits for them.

        Threads would only get into each other's way over small ones: whoever waits does these.
        """
        if all(source.info.numel < _WORTH_A_THREAD for source, _ in batch):
            return partial(self._encode_batch, batch)
        return threads.submit(self._encode_batch, batch).result

    def _encode_batch(self, batch: Sequence[Planned]) -> list[Result]:
        """Encode tensors, but for small ones whose plan is that of the attempt before."""
        fresh = [pair for pair in batch if not self._is_kept(*pair)]
        results = {result.source.name: result for result in encode_each(fresh)}
        for source, tensor_plan in fresh:
            if source.info.numel <= SMALL and tensor_plan.slope is None:
                self.kept[source.name] = tensor_plan, results[source.name]
        return [results.get(s.name) or self._kept_result(s.name) for s, _ in batch]

    def _is_kept(self, source: Source, tensor_plan: TensorPlan) -> bool:
        return source.name in self.kept and self.kept[source.name][0] == tensor_plan

    def _kept_result(self, name: str) -> Result:
        return self.kept[name][1]

    def _place(self, writer: ContainerWriter, result: Result) -> None:
        key = grouping.group_key(result.tensor)
        if key is None and result.tensor.frame is not None:
            self._enter(result, self._write(writer, result.tensor.frame))
            return
        group = self.groups.setdefault(key, [])
        size = self.group_sizes.get(key, 0) + result.tensor.array.size
        if size > grouping.group_limit(result.tensor):
            self._write_group(writer, group)
            group.clear()
            size = result.tensor.array.size
        group.append(result)
        self.group_sizes[key] = size

    def _write_group(self, writer: ContainerWriter, group: Sequence[Result]) -> None:
        # Members stand in the order of their entries.
        ordered = sorted(group, key=lambda result: self._places[result.source.name])
        for frame, places in grouping.merge([result.tensor for result in ordered]):
            number = self._write(writer, frame)
            for place in places:
                self._enter(ordered[place], number)

    def _write(self, writer: ContainerWriter, frame: Frame) -> int:
        number = writer.add_frame(frame)
        self._described.append(frame.described)
        return number

    def _enter(self, result: Result, frame: int) -> None:
        tensor = result.tensor
        error = None if tensor.exact else tensor.squared_error / (tensor.energy or 1.0)
        info = result.source.info
        self.entries[info.name] = TensorEntry(info, frame, result.digest, error)

    def _index(self, writer: ContainerWriter) -> Index:
        tensors = {}
        checkpoint = self.sources.checkpoint
        for name, info in checkpoint.tensors.items():
            if name not in self.sources.aliases:
                tensors[name] = self.entries[name]
                continue
            original = self.sources.original(name)
            entry = self.entries[original]
            tensors[name] = TensorEntry(
                info,
                entry.frame,
                entry.digest,
                entry.relative_error,
                alias_of=original,
                tied=name in checkpoint.ties,
            )
        index = Index()
        index.frames, index.tensors = writer.frames, tensors
        if any(entry.relative_error is not None for entry in tensors.values()):
            index.relative_error = self.errors.relative
        index.metadata = dict(checkpoint.metadata)
        return index


def _batches(
    pairs: Sequence[Planned],
) -> Iterator[tuple[int, list[Planned]]]:
    """What one thread encodes at a time: large tensors alone, small ones together; their bytes."""
    batch: list[Planned] = []
    size = 0
    for source, tensor_plan in pairs:
        nbytes = source.info.nbytes
        if batch and size + nbytes > _BATCH_BYTES:
            yield size, batch
            batch, size = [], 0
        batch.append((source, tensor_plan))
        size += nbytes
    if batch:
        yield size, batch


def encode_each(batch: Sequence[Planned]) -> list[Result]:
    """Encode some tensors, each by its plan."""
    sources = [source for source, _ in batch]
    tensors = pipeline.encode_each(sources, [tensor_plan for _, tensor_plan in batch])
    return [_result(*pair) for pair in zip(sources, tensors, strict=True)]


def _result(source: Source, tensor: EncodedTensor) -> Result:
    if source.given is not None:
        tensor = pipeline.corrected(source.original(), tensor)
    return Result(source, tensor, _digest_of_decoded(tensor))


def _digest_of_decoded(tensor: EncodedTensor) -> int:
    """Digest of what a decoder will give, which is never in memory as a whole."""
    if isinstance(tensor.few, TinyTensor):
        return tensor_digest(tensor.few.values)
    if tensor.shared is None:
        return tensor_digest(tensor.array)
    step = CHUNK // tensor.array.dtype.itemsize
    starts = range(0, max(tensor.array.size, 1), step)
    return combine([tensor_digest(tensor.decoded(start, start + step)) for start in starts])
