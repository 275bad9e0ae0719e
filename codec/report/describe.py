"""What a frame holds, told by its decoder: where its bytes are, and its streams' entropies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..decode import (
    byte_planes,
    context_mixing,
    context_mixing_group,
    dense,
    row_classes,
    sparse,
    stored,
)
from ..decode.frame import FrameDecoder
from . import huffman, mixing, planes
from .description import Description

_DESCRIPTIONS: dict[type[Any], Callable[[Any], Description]] = {
    stored.Decoder: planes.describe_stored,
    byte_planes.Decoder: planes.describe_planes,
    dense.Decoder: huffman.describe_dense,
    sparse.Decoder: huffman.describe_sparse,
    row_classes.Decoder: huffman.describe_classes,
    context_mixing.Decoder: mixing.describe_mixed,
    context_mixing_group.Decoder: mixing.describe_group,
}


def describe(frame: FrameDecoder) -> Description:
    """Sizes and entropies of a frame's streams; decodes every symbol. Raises CorruptError."""
    return _DESCRIPTIONS[type(frame)](frame)
