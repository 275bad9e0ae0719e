"""Which tensors share a frame: small ones of a kind, and the few weights of a tiny network."""

from __future__ import annotations

from collections.abc import Sequence

from .encode import choice, context_mixing_group
from .encode.frame import Frame
from .pipeline import SMALL, EncodedTensor
from .share.tiny import TinyTensor
from .wire.arrays import MAX_GROUP, MAX_MIXED_GROUP
from .wire.coders import CODERS

FRAME_COST = 9

Key = tuple[object, ...]
# A frame, and the places of its tensors among those that were merged.
Merged = tuple[Frame, list[int]]


def group_key(tensor: EncodedTensor) -> Key | None:
    """What small tensors must have in common to share a frame; None for larger ones."""
    if isinstance(tensor.few, TinyTensor):
        return tensor.array.dtype, "tiny"
    if tensor.few is not None:
        return tensor.array.dtype, "mixed", context_mixing_group.states_of(tensor.few)
    return _table_key(tensor)


def _table_key(tensor: EncodedTensor) -> Key | None:
    """The same where static codes or byte planes hold them."""
    if tensor.array.size > SMALL:
        return None
    zero = tensor.shared.has_zero if tensor.shared is not None else None
    return tensor.array.dtype, zero


def group_limit(tensor: EncodedTensor) -> int:
    """Elements that a frame may hold of tensors with the key of this one."""
    return MAX_GROUP if tensor.few is None else MAX_MIXED_GROUP


def merge(tensors: Sequence[EncodedTensor]) -> list[Merged]:
    """Code tensors of one `group_key` together, or apart if that is smaller."""
    few = [tensor.few for tensor in tensors if tensor.few is not None]
    if not few:
        return _merge_by_tables(tensors, list(range(len(tensors))))
    frame = context_mixing_group.encode(few, [tensor.shape for tensor in tensors])
    together = [(frame, list(range(len(tensors))))]
    if isinstance(few[0], TinyTensor):
        return together
    return min(together, _without_mixing(tensors), key=_cost)


def _without_mixing(tensors: Sequence[EncodedTensor]) -> list[Merged]:
    """The larger tensors alone, and the smaller ones by tables."""
    by_key: dict[Key | None, list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_key.setdefault(_table_key(tensor), []).append(place)
    large = by_key.pop(None, [])
    merged = [(frame, [place]) for place in large if (frame := tensors[place].frame) is not None]
    for places in by_key.values():
        merged += _merge_by_tables([tensors[place] for place in places], places)
    return merged


def _merge_by_tables(tensors: Sequence[EncodedTensor], places: list[int]) -> list[Merged]:
    shared = [tensor.shared for tensor in tensors if tensor.shared is not None]
    if not shared:
        return [(choice.encode_lossless([tensor.array for tensor in tensors]), places)]
    pairs = zip(tensors, places, strict=True)
    alone = [(tensor.frame, [place]) for tensor, place in pairs if tensor.frame is not None]
    if _least_together(tensors) >= _cost(alone):
        return alone
    together = [(choice.encode_shared(shared), places)]
    return together if _cost(together) < _cost(alone) else alone


def _least_together(tensors: Sequence[EncodedTensor]) -> int:
    """Bytes that the tensors take together at least; 0 where gaps may be coded.

    The entropy of a mixture is no less than that of its
    parts (Cover and Thomas, Elements of Information Theory, section 2.7).
    """
    least = 0
    for tensor in tensors:
        dense = tensor.frame.least_dense if tensor.frame is not None else 0
        if dense == 0 or tensor.shared is None or tensor.shared.has_zero:
            return 0
        least += dense
    return least


def _cost(merged: Sequence[Merged]) -> int:
    """Bytes of frames, and of what differs in the index."""
    digests = sum(CODERS[frame.coder].digest_bytes * len(own) for frame, own in merged)
    return digests + sum(len(frame.payload) + FRAME_COST for frame, _ in merged)
