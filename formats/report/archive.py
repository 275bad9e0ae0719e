"""An open `.dcz` file that can report on itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from ...codec.decode import dense, sparse
from ...codec.errors import located
from ...codec.report.describe import describe
from ...codec.report.description import Description
from ...codec.report.report import Alias, FrameSummary, MemberSummary, Report, build_report
from ...codec.wire.arrays import AnyArray, numel
from ..container.container import HEADER, TRAILER_BYTES, Container
from ..container.limits import DEFAULT_LIMITS, DecodeLimits
from ..container.reader import Reader


def _bytes_outside_frames(container: Container) -> dict[str, int]:
    """Bytes of the file's parts; the index is told without checksums, digests and metadata."""
    index = container.index
    stored = [tensor for tensor in index.tensors.values() if tensor.alias_of is None]
    digests = sum(index.frames[tensor.frame].digest_bytes for tensor in stored)
    checksums = 4 * len(index.frames) + digests
    return {
        "index": container.index_bytes - index.metadata_bytes - checksums,
        "checksums": checksums + 4,  # and the index's own
        "metadata": index.metadata_bytes,
        "header": len(HEADER) + TRAILER_BYTES - 4,
    }


class Archive(Reader):
    """A `.dcz` file, open for reading, with its report; see `Reader`."""

    def report(self, descriptions: Sequence[Description] | None = None) -> Report:
        """Stages, streams and entropies.

        Parameters
        ----------
        descriptions : sequence of Description, optional
            Of all frames, where they are known; otherwise every symbol of the file is decoded.
        """
        index = self.container.index
        known = descriptions or [self._describe(number) for number in range(len(index.frames))]
        frames = [self._summarize(number, known[number]) for number in range(len(index.frames))]
        aliases = [
            Alias(name, entry.alias_of, entry.tied)
            for name, entry in index.tensors.items()
            if entry.alias_of is not None
        ]
        return build_report(
            frames,
            aliases,
            _bytes_outside_frames(self.container),
            order=list(index.tensors),
            relative_error=index.relative_error or 0.0,
            metadata=index.metadata,
        )

    def _describe(self, number: int) -> Description:
        first = self.stored[number][0]
        with located(file=self.path, tensor=first.info.name):
            return describe(self.container.open_frame(first.frame))

    def _summarize(self, number: int, description: Description) -> FrameSummary:
        return FrameSummary(
            coder=self.container.coder_name(number),
            payload_bytes=self.container.index.frames[number].length,
            members=[
                MemberSummary(
                    name=entry.info.name,
                    dtype=entry.info.dtype.name,
                    shape=entry.info.shape,
                    numel=entry.info.numel,
                    itemsize=entry.info.dtype.itemsize,
                    relative_error=entry.relative_error or 0.0,
                )
                for entry in self.stored[number]
            ],
            description=description,
        )

    def frame_arrays(self) -> Iterator[AnyArray]:
        """Of each frame one index for each position, or the elements if nothing is shared."""
        for number in range(len(self.container.index.frames)):
            decoder = self.container.open_frame(number)
            if isinstance(decoder, (dense.Decoder, sparse.Decoder)):
                yield decoder.indices()
                continue
            members = self.container.members(number)
            flat = np.empty(numel(members), members[0].dtype)
            decoder.decode(0, flat.size, flat)
            yield flat


def open_archive(
    path: str | os.PathLike[str],
    *,
    jobs: int | None = None,
    limits: DecodeLimits = DEFAULT_LIMITS,
    check_digests: bool = True,
) -> Archive:
    """Open a `.dcz` file without decoding anything; see `Archive`."""
    return Archive(path, jobs=jobs, limits=limits, check_digests=check_digests)
