"""Packing a checkpoint into a `.dcz` file, and unpacking it."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import BinaryIO

import numpy as np

from dcz.codec import grouping, pipeline, share
from dcz.codec.aims import Outcome, search
from dcz.codec.correct import Correction
from dcz.codec.errors import DczError, RecipeError, located
from dcz.codec.frame import AnyArray, Description, Frame, is_floating
from dcz.codec.metric import Floats
from dcz.codec.pipeline import EncodedTensor
from dcz.codec.plan import Planner
from dcz.codec.recipe import Recipe
from dcz.codec.report import Report
from dcz.codec.tensor_plan import TensorPlan
from dcz.formats.archive import Archive
from dcz.formats.atomic import atomic_writer
from dcz.formats.calibrated import Calibrated
from dcz.formats.checkpoint import (
    ONE_AT_A_TIME,
    format_of_ending,
    open_checkpoint,
    write_checkpoint,
)
from dcz.formats.container import ContainerWriter
from dcz.formats.digest import CHUNK, combine, tensor_digest
from dcz.formats.index import Index, TensorEntry
from dcz.formats.left_out import left_out_in_short
from dcz.formats.limits import DEFAULT_LIMITS, DecodeLimits
from dcz.formats.rebuild import write_everything
from dcz.formats.sources import Source, Sources
from dcz.formats.structure import STRUCTURE_KEY
from dcz.formats.tensors import Checkpoint, TensorInfo

Path = str | os.PathLike[str]
Progress = Callable[[str, int], None]

# Tensors are encoded side by side as long as they are small together, or no more than two of the
# largest: encoding takes about as much memory as the tensors themselves.
_BYTES_AT_ONCE = 3 << 24
_TENSORS_AT_ONCE = 128


def pack(
    source: Path | Checkpoint,
    dest: Path,
    recipe: Recipe | None = None,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
    notes: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Report:
    """Pack a checkpoint into a `.dcz` file.

    The file appears under its name only when it is whole and has been decoded and compared.

    Parameters
    ----------
    source : path or Checkpoint
        A `.safetensors`, `.pt`, `.pth`, `.npz` or `.npy` file, or an open checkpoint.
    dest : path
        The file to write; replaced atomically.
    recipe : Recipe, optional
        What to do with which tensor; by default nothing is pruned and the model's relative
        squared error stays within 1e-3.
    jobs : int, optional
        Threads; as many as there are cores by default. The file does not depend on it.
    progress : callable, optional
        Called with a tensor's name and its number of bytes when it has been encoded.
    notes : mapping of str to str, optional
        What to keep beside the source's metadata, such as the error that the model was measured at.
    key : str, optional
        Which part of a training checkpoint to pack, if `source` is a path; see `open_checkpoint`.

    Warns
    -----
    UserWarning
        If the file at a path holds anything else than what is packed, with its names.

    Returns
    -------
    Report

    Raises
    ------
    InputError, UnsupportedError
        If the source cannot be read.
    RecipeError
        If the recipe does not fit the checkpoint.
    OSError
        If a file cannot be read or written.
    """
    opened = nullcontext(source) if isinstance(source, Checkpoint) else _opened(source, key)
    with opened as checkpoint, atomic_writer(dest) as stream, located(file=checkpoint.path):
        checkpoint.metadata = checkpoint.metadata | dict(notes or {})
        attempts = _Attempts(checkpoint, stream, recipe or Recipe(), jobs, progress)
        packer = attempts.run()
        stream.flush()
        with _told_of(dest), Archive(stream.name, jobs=jobs) as archive:
            verify(archive)
            return attempts.complete(archive.report(packer.descriptions), packer)


def _opened(source: Path, key: str | None) -> Checkpoint:
    checkpoint = open_checkpoint(source, key=key)
    if left_out := left_out_in_short(checkpoint):
        warnings.warn(left_out, stacklevel=3)
    return checkpoint


@contextmanager
def _told_of(dest: Path) -> Iterator[None]:
    """Let errors name the file that is to be: nobody knows of the temporary one."""
    try:
        yield
    except DczError as error:
        error.file = os.fspath(dest)
        raise


@dataclass(slots=True)
class _Result:
    """A source with what became of it, until it is written."""

    source: Source
    tensor: EncodedTensor
    digest: int


@dataclass(slots=True)
class _Errors:
    """Sums the model's error as the tensors come: as it is counted, and of all weights alike."""

    counted: float = 0.0
    squared: float = 0.0
    energy: float = 0.0

    def add(self, result: _Result) -> None:
        self.counted += result.tensor.counted_error
        if len(result.source.shape) > 1 and is_floating(result.source.dtype):
            self.squared += result.tensor.squared_error
            energy = result.tensor.energy
            self.energy += share.energy(result.tensor.array) if energy is None else energy

    @property
    def relative(self) -> float:
        return self.squared / self.energy if self.energy else 0.0


class _Attempts:
    """Packs a checkpoint at one slope after the other until it meets the recipe's aim."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        stream: BinaryIO,
        recipe: Recipe,
        jobs: int | None,
        progress: Progress | None,
    ) -> None:
        recipe.check_patterns(list(checkpoint.tensors))
        self._stream = stream
        self._jobs = jobs
        self._progress = progress
        calibrated = Calibrated.of(recipe, checkpoint)
        self._sources = calibrated.sources
        self._corrections = calibrated.corrections
        self._planner = Planner(
            self._sources.stored, recipe, calibrated.metrics, self._sources.tied
        )
        self._unseen = calibrated.unseen
        self._number: int | None = None

    @property
    def slope(self) -> float | None:
        """Of the last attempt, if there is an aim."""
        return None if self._number is None else self._planner.slope(self._number)

    def run(self) -> _Packer:
        """The last attempt, which the stream holds."""
        aim = self._planner.aim
        if aim is None:
            return self._attempt(self._planner.plans(0))
        outcomes: dict[tuple[TensorPlan, ...], Outcome] = {}
        last: dict[tuple[TensorPlan, ...], _Packer] = {}

        def attempt(number: int) -> Outcome:
            plans = tuple(self._planner.plans(number))
            if plans not in outcomes:
                last.clear()
                last[plans] = self._attempt(plans)
                outcomes[plans] = self._outcome(last[plans])
            return outcomes[plans]

        found = search(lambda number: aim.of(attempt(number)), aim, self._planner.start)
        if aim.of(attempt(found)) > aim.goal:
            raise RecipeError(aim.out_of_reach(attempt(found)))
        self._number = found
        plans = tuple(self._planner.plans(found))
        return last.get(plans) or self._attempt(plans)

    def _attempt(self, plans: Sequence[TensorPlan]) -> _Packer:
        self._stream.seek(0)
        self._stream.truncate()
        packer = _Packer(self._sources, self._stream, self._jobs, self._progress, self._corrections)
        packer.run(plans)
        return packer

    def complete(self, report: Report, packer: _Packer) -> Report:
        """The report with what only packing knows."""
        whole = self._planner.whole
        lost = {
            name: error / whole[name]
            for name, error in packer.counted_errors.items()
            if whole.get(name)
        }
        report = dataclasses.replace(
            report,
            slope=self.slope,
            counted_error=packer.errors.counted,
            lost=lost,
            exact=dict(self._planner.exact),
        )
        if not self._planner.calibrated:
            return report
        moved = {} if self._number is None else self._planner.moved_bits(self._number)
        tensors = tuple(
            dataclasses.replace(
                tensor,
                output_error=packer.counted_errors.get(tensor.name),
                moved_bits=moved.get(tensor.name),
            )
            for tensor in report.tensors
        )
        return dataclasses.replace(
            report, tensors=tensors, output_error=packer.errors.counted, unseen=self._unseen
        )

    def _outcome(self, packer: _Packer) -> Outcome:
        error = packer.errors.counted - self._planner.pruned_error
        return Outcome(self._stream.tell(), max(error, 0.0))


@dataclass
class _Packer:
    """Writes one file: tensors in order, small ones held back until they fill a frame."""

    sources: Sources
    stream: BinaryIO
    jobs: int | None
    progress: Progress | None
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    counted_errors: dict[str, float] = field(default_factory=dict)
    entries: dict[str, TensorEntry] = field(default_factory=dict)
    descriptions: list[Description] = field(default_factory=list)
    groups: dict[tuple[object, ...] | None, list[_Result]] = field(default_factory=dict)
    group_sizes: dict[tuple[object, ...] | None, int] = field(default_factory=dict)
    errors: _Errors = field(default_factory=_Errors)
    lossy: bool = True

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each tensor stands in the checkpoint."""
        return {name: place for place, name in enumerate(self.sources.checkpoint.tensors)}

    def run(self, plans: Sequence[TensorPlan]) -> None:
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
    ) -> _Result:
        """Encode a tensor that makes up for what was done to others."""
        correction = self.corrections[source.name]
        if correction.weight not in shifts:
            return _encode(source, tensor_plan)
        array = correction.apply(source.read(), shifts[correction.weight])
        return _encode(dataclasses.replace(source, given=array), tensor_plan)

    def _add(self, writer: ContainerWriter, result: _Result) -> None:
        if self.lossy:
            self.errors.add(result)
        self.counted_errors[result.source.name] = result.tensor.counted_error
        self._place(writer, result)
        if self.progress is not None:
            self.progress(result.source.name, result.source.info.nbytes)

    def _encoded(self, sources: Sequence[Source], plans: Sequence[TensorPlan]) -> Iterator[_Result]:
        """Encode side by side what is small together, and give the results in order."""
        jobs = self.jobs or os.cpu_count() or 1
        if jobs == 1:
            yield from map(_encode, sources, plans)
            return
        waiting: deque[tuple[int, Future[_Result]]] = deque()
        in_flight = 0
        limit = max(_BYTES_AT_ONCE, 2 * max((s.info.nbytes for s in sources), default=0))
        with ThreadPoolExecutor(jobs, thread_name_prefix="dcz") as threads:
            for source, tensor_plan in zip(sources, plans, strict=True):
                size = source.info.nbytes
                while waiting and (in_flight + size > limit or len(waiting) >= _TENSORS_AT_ONCE):
                    done, future = waiting.popleft()
                    in_flight -= done
                    yield future.result()
                waiting.append((size, threads.submit(_encode, source, tensor_plan)))
                in_flight += size
            for _, future in waiting:
                yield future.result()

    def _place(self, writer: ContainerWriter, result: _Result) -> None:
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

    def _write_group(self, writer: ContainerWriter, group: Sequence[_Result]) -> None:
        # Members stand in the order of their entries.
        ordered = sorted(group, key=lambda result: self._places[result.source.name])
        for frame, places in grouping.merge([result.tensor for result in ordered]):
            number = self._write(writer, frame)
            for place in places:
                self._enter(ordered[place], number)

    def _write(self, writer: ContainerWriter, frame: Frame) -> int:
        self.descriptions.append(frame.description)
        return writer.add_frame(frame)

    def _enter(self, result: _Result, frame: int) -> None:
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
        exact = all(entry.relative_error is None for entry in tensors.values())
        error = None if exact else self.errors.relative
        return Index(writer.frames, tensors, error, dict(checkpoint.metadata))


def _encode(source: Source, tensor_plan: TensorPlan) -> _Result:
    tensor = pipeline.encode(source, tensor_plan)
    if source.given is not None:
        tensor = pipeline.corrected(source.original(), tensor)
    return _Result(source, tensor, _digest_of_decoded(tensor))


def _digest_of_decoded(tensor: EncodedTensor) -> int:
    """Digest of what a decoder will give, which is never in memory as a whole."""
    if tensor.shared is None:
        return tensor_digest(tensor.array)
    step = CHUNK // tensor.array.dtype.itemsize
    starts = range(0, max(tensor.array.size, 1), step)
    return combine([tensor_digest(tensor.decoded(start, start + step)) for start in starts])


def verify(archive: Archive, progress: Progress | None = None) -> None:
    """Decode every tensor and check every checksum and digest. Raises CorruptError."""
    ties = archive.ties
    for name in archive:
        if name in ties:
            continue
        archive.verify(name)
        if progress is not None:
            progress(name, archive.info(name).nbytes)


class _Room:
    """Memory for one tensor after the other, as large as the largest of them."""

    def __init__(self, infos: Sequence[TensorInfo]) -> None:
        self._memory = np.empty(max((info.nbytes for info in infos), default=0), np.uint8)

    def array(self, info: TensorInfo) -> AnyArray:
        """The memory as an array for this tensor; the one before it is overwritten."""
        return self._memory[: info.nbytes].view(info.dtype).reshape(info.shape)


def unpack(
    source: Path,
    dest: Path,
    *,
    jobs: int | None = None,
    tensor: str | None = None,
    limits: DecodeLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> None:
    """Unpack a `.dcz` file into a checkpoint.

    One that was packed with everything becomes the training checkpoint again in a `.pt` file.

    Parameters
    ----------
    source : path
        The `.dcz` file.
    dest : path
        The file to write, replaced atomically; its ending gives the format.
    jobs : int, optional
        Threads that decode; as many as there are cores by default.
    tensor : str, optional
        The only tensor to unpack.
    limits : DecodeLimits
        What the source may declare.
    progress : callable, optional
        Called with a tensor's name and its number of bytes when it is about to be written.

    Raises
    ------
    CorruptError, UnsupportedError, LimitError
        If the source cannot be read.
    KeyError
        If there is no such tensor.
    OSError
        If a file cannot be read or written.
    """
    with closing(Archive(source, jobs=jobs, limits=limits)) as archive:
        names = [tensor] if tensor is not None else list(archive)
        infos = [archive.info(name) for name in names]
        room = _Room(infos) if format_of_ending(dest) in ONE_AT_A_TIME else None

        def read(name: str) -> AnyArray:
            info = archive.info(name)
            if progress is not None:
                progress(name, info.nbytes)
            return archive[name] if room is None else archive.read(name, room.array(info))

        ties = {n: first for n, first in archive.ties.items() if tensor is None}
        structure = archive.metadata.get(STRUCTURE_KEY)
        if structure is not None and tensor is None and format_of_ending(dest) == "torch":
            with located(file=archive.path), atomic_writer(dest) as stream:
                write_everything(stream, structure, read, ties)
            return
        write_checkpoint(dest, infos, read, archive.metadata, ties)
