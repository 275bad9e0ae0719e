"""From the number of a coder to what reads its frames."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import VersionError
from ..wire.arrays import Member
from ..wire.coders import CODERS

if TYPE_CHECKING:
    from .frame import FrameDecoder


def open_frame(coder: int, payload: memoryview, members: Sequence[Member]) -> FrameDecoder:
    """Parse and validate a frame; what only other frames need is not imported.

    Raises
    ------
    CorruptError
        If the payload breaks the format.
    VersionError
        If this release does not know the coder.
    """
    if coder not in CODERS:
        raise VersionError(f"coder {coder} is not known to this release")
    module = import_module(f".{CODERS[coder].module}", __package__)
    decoder: FrameDecoder = module.Decoder(payload, members)
    return decoder
