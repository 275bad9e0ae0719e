"""What a frame holds, told by its decoder: where its bytes are, and its streams' entropies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dcz.codec import classes, dense, mixed, mixed_group, planes, sparse, stored
from dcz.codec.frame import Description, FrameDecoder

_DESCRIPTIONS: dict[type[Any], Callable[[Any], Description]] = {
    stored.Decoder: stored.describe_stored,
    planes.Decoder: planes.describe_planes,
    dense.Decoder: dense.describe_dense,
    sparse.Decoder: sparse.describe_sparse,
    classes.Decoder: classes.describe_classes,
    mixed.Decoder: mixed.describe_mixed,
    mixed_group.Decoder: mixed_group.describe_group,
}


def describe(frame: FrameDecoder) -> Description:
    """Sizes and entropies of a frame's streams; decodes every symbol. Raises CorruptError."""
    return _DESCRIPTIONS[type(frame)](frame)
