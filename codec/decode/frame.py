"""What every decoder of a frame offers."""

from __future__ import annotations

from typing import Protocol

from ..kernels.digest import Digests
from ..wire.arrays import AnyArray


class FrameDecoder(Protocol):
    """A parsed and validated frame, ready to decode any of its units, from any thread.

    Attributes
    ----------
    unit : int
        Decoding starts at multiples of this many elements.
    """

    unit: int

    def decode(self, start: int, stop: int, out: AnyArray, digests: Digests | None = None) -> None:
        """Decode elements start to stop of the frame's flat array.

        Parameters
        ----------
        start, stop : int
            A multiple of `unit`; a multiple of `unit` or the frame's end.
        out : array[stop - start] of the frame's dtype
            Receives the elements.
        digests : uint64[digest_count(out.nbytes)], optional
            Receives the digest of each chunk of `out`; see `kernels.write_digests`.

        Raises
        ------
        CorruptError
            If the coded bytes break the format.
        """
