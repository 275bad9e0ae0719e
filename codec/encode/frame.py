"""A frame as an encoder gives it."""

from __future__ import annotations

from dataclasses import dataclass

from ..report.description import Described, Description, description_of


@dataclass(frozen=True, slots=True)
class Frame:
    """Coded bytes.

    Attributes
    ----------
    coder : int
        Which coder reads the payload, a key of `wire.coders.CODERS`.
    payload : bytes or memoryview
        The coded bytes.
    described : Description or callable
        The description, or what makes it: few of the frames that are tried come to be written.
    least_dense : int
        Bytes that dense coding takes at least, also beside other tensors; 0 where not known.
    """

    coder: int
    payload: bytes | memoryview
    described: Described
    least_dense: int = 0

    @property
    def description(self) -> Description:
        """The same that a decoder of the payload gives."""
        return description_of(self.described)
