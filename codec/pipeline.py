"""The one place where the order of the stages is written: prune, share, code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import weights as codec_weights
from .calibration.sensitivity import Floats
from .encode import choice, context_mixing, context_mixing_group, plane_choice
from .encode.frame import Frame
from .errors import located
from .kernels import weights
from .share import choice as quantizers
from .share import find_step, kmeans, shared_tensor, tiny
from .share.shared_tensor import ALREADY_SHARED, SharedTensor
from .share.tiny import TinyTensor
from .share.trellis.feedback import ColumnTrellisTensor
from .share.trellis.per_row import RowTrellisTensor
from .tensor_plan import TensorPlan
from .weights import TensorSource, Weights
from .wire.arrays import MAX_MIXED_GROUP, AnyArray, is_floating

FEW_VALUES = 4096
SMALL = 4096
# So few weights that byte planes rarely learn anything of them.
TINY = 256
# Bytes of code that mixed contexts would rather share with other tensors.
SHORT_CODE = 4096
HEAVY_CODEBOOK = 128


@dataclass(frozen=True, slots=True)
class EncodedTensor:
    """A tensor after all stages.

    Attributes
    ----------
    frame : Frame or None
        The tensor coded alone; None for a small lossless one, which waits for others.
    shared : SharedTensor or None
        The shared tensor, if that is what is coded; None if the tensor is lossless.
    array : array[numel]
        The original elements.
    exact : bool
        Whether decoding gives the original bit for bit.
    squared_error : float
        Sum of (w - w')**2.
    energy : float or None
        Sum of w**2; 0 for tensors that hold NaN or infinity; None for lossless ones, of which few
        are asked.
    few : SharedTensor, TinyTensor or None
        What is decoded, as a frame of mixed contexts of several tensors may hold it; None where
        none should.
    shape : tuple of int
        Of the tensor; known where `few` is.
    counted_error : float
        What its errors count for, as its metric tells; 0 without one.
    shift : float64[rows] or None
        How far the mean of what each row makes has moved, if that is made good elsewhere.
    """

    frame: Frame | None
    shared: SharedTensor | None
    array: AnyArray
    exact: bool
    squared_error: float
    energy: float | None
    few: SharedTensor | TinyTensor | None = None
    shape: tuple[int, ...] = ()
    counted_error: float = 0.0
    shift: Floats | None = None

    def decoded(self, start: int, stop: int) -> AnyArray:
        """Elements start to stop of what a decoder will give."""
        if isinstance(self.few, TinyTensor):
            return self.few.values[start:stop]
        if self.shared is None:
            return self.array[start:stop]
        return weights.take(self.shared.indices[start:stop], self.shared.codebook)


def encode_each(
    tensors: Sequence[TensorSource], plans: Sequence[TensorPlan]
) -> list[EncodedTensor]:
    """Prune, share and code some tensors, the tiny ones among them together."""
    found: dict[int, EncodedTensor] = {}
    by_dtype: dict[object, list[int]] = {}
    for place, (tensor, plan) in enumerate(zip(tensors, plans, strict=True)):
        if tiny.suits(tensor, plan, math.prod(tensor.shape)):
            by_dtype.setdefault(tensor.dtype, []).append(place)
    for places in by_dtype.values():
        pairs = [(tensors[place], plans[place]) for place in places]
        for place, encoded in zip(places, _encode_tiny(pairs), strict=True):
            if encoded is not None:
                found[place] = encoded
    every = enumerate(zip(tensors, plans, strict=True))
    return [found[place] if place in found else encode(*pair) for place, pair in every]


def _encode_tiny(
    pairs: Sequence[tuple[TensorSource, TensorPlan]],
) -> list[EncodedTensor | None]:
    """Tiny tensors of one dtype, which wait for others to be coded with."""
    arrays = []
    for tensor, _ in pairs:
        with located(tensor=tensor.name):
            arrays.append(tensor.read().reshape(-1))
    steps = [quantizers.grid_step(plan) for _, plan in pairs]
    quantized = tiny.quantize(arrays, steps)
    return [
        None if own is None else _waiting(tensor, plan, array, own)
        for (tensor, plan), array, own in zip(pairs, arrays, quantized, strict=True)
    ]


def _waiting(
    tensor: TensorSource, plan: TensorPlan, array: AnyArray, own: TinyTensor
) -> EncodedTensor | None:
    """A tiny tensor before it is coded; None if it lost more than it may."""
    assert plan.metric is not None
    counted = plan.metric.importance * own.squared_error
    if counted > plan.most_error:
        return None
    error, energy = own.squared_error, own.energy
    return EncodedTensor(None, None, array, False, error, energy, own, tensor.shape, counted)


def encode(tensor: TensorSource, plan: TensorPlan) -> EncodedTensor:
    """Prune, share and code one tensor, finer than planned if more would be lost than may be."""
    encoded = _encode_alone(tensor, plan)
    while encoded.counted_error > plan.most_error:
        plan = plan.finer()
        encoded = _encode_alone(tensor, plan)
    if plan.coder != "mixed" or not is_floating(tensor.dtype):
        return encoded
    return replace(encoded, few=_few_coded_weights(encoded), shape=tensor.shape)


def _few_coded_weights(tensor: EncodedTensor) -> SharedTensor | None:
    """The tensor under a codebook, if its code is so short that learning is much of it."""
    size = len(tensor.frame.payload) if tensor.frame is not None else 0
    if size > SHORT_CODE or not 0 < tensor.array.size <= MAX_MIXED_GROUP:
        return None
    shared = tensor.shared or shared_tensor.already_shared(tensor.array, ALREADY_SHARED)
    if isinstance(shared, RowTrellisTensor | ColumnTrellisTensor):
        return None  # frames of several tensors have no such trellises
    if shared is not None:
        return shared if context_mixing.codable(shared) else None
    values = shared_tensor.by_values(tensor.array, ALREADY_SHARED)
    stepped = values is not None and find_step.find(values.codebook, context_mixing_group.SPREAD)
    return values if stepped else None


def _encode_alone(tensor: TensorSource, plan: TensorPlan) -> EncodedTensor:
    with located(tensor=tensor.name):
        array = tensor.read().reshape(-1)
        if not is_floating(array.dtype):
            return _encode_exact(array, 0.0)
        if not plan.share:
            return _encode_exact(array, None)
        values = codec_weights.widen(array)
        summary = weights.summarize(values)
        if not codec_weights.shareable(summary):
            return _encode_exact(array, codec_weights.counted_energy(summary))
        if plan.levels is not None and values.size <= plan.levels and not plan.cutoff:
            return _encode_exact(array, summary.energy)
        few = shared_tensor.already_shared(array, max(ALREADY_SHARED, plan.levels or 0))
        if few is not None and not quantizers.prunes(few, plan.cutoff):
            coder = "mixed" if plan.coder == "mixed" else "huffman"
            frame = choice.encode(few, tensor.shape, coder)
            return _encode_few(array, few, frame, summary.energy)
        shared = quantizers.prune_and_share(tensor, values, summary, plan, few)
        if shared is None:
            return _predicted(
                _encode_survivors(array, values, plan.cutoff, summary.energy), values, plan
            )
        shared, frame = _code(tensor, values, shared, plan)
        return _predicted(_smaller(array, values, shared, frame, summary.energy), values, plan)


def _predicted(tensor: EncodedTensor, values: Weights, plan: TensorPlan) -> EncodedTensor:
    """The tensor with what its errors count for."""
    metric = plan.metric
    if metric is None or tensor.exact:
        return tensor
    if metric.is_flat and tensor.shared is not None:
        return replace(tensor, counted_error=metric.importance * tensor.squared_error)
    if metric.moments is None and tensor.shared is not None:
        errors = kmeans.row_errors(values, tensor.shared, metric.rows.size)
        return replace(tensor, counted_error=metric.error_of_rows(errors))
    changes = quantizers.changes(values, tensor.decoded(0, values.size))
    return replace(tensor, counted_error=metric.error(changes), shift=metric.shift(changes))


def corrected(original: AnyArray, tensor: EncodedTensor) -> EncodedTensor:
    """A tensor that was changed on purpose before it was encoded, measured against the original."""
    values = codec_weights.widen(original)
    changes = codec_weights.widen(tensor.decoded(0, values.size)) - values
    error = weights.summarize(changes).energy
    return replace(
        tensor, exact=error == 0, squared_error=error, energy=codec_weights.energy(original)
    )


def _code(
    tensor: TensorSource, values: Weights, shared: SharedTensor, plan: TensorPlan
) -> tuple[SharedTensor, Frame]:
    """The tensor coded, with errors that make up for each other where they can."""
    shared = quantizers.compensated(tensor, values, shared, plan)
    frame = choice.encode(shared, tensor.shape, plan.coder)
    other = quantizers.compensated_along_trellis(tensor, values, plan)
    if other is None:
        return shared, frame
    pairs = [(shared, frame), (other, choice.encode(other, tensor.shape, plan.coder))]
    return min(pairs, key=lambda pair: _price(values, pair[0], pair[1], plan))


def _price(values: Weights, shared: SharedTensor, frame: Frame, plan: TensorPlan) -> float:
    """The output's error, and what the bits of a frame might have saved elsewhere."""
    assert plan.metric is not None and plan.slope is not None
    changes = quantizers.changes(values, weights.take(shared.indices, shared.codebook))
    slope = plan.slope * plan.metric.importance * plan.metric.compensation
    return plan.metric.error(changes) + slope * 8 * len(frame.payload)


def _smaller(
    array: AnyArray, values: Weights, shared: SharedTensor, frame: Frame, energy: float
) -> EncodedTensor:
    """The shared tensor, or the original where that is smaller."""
    if array.size <= TINY and len(frame.payload) >= array.nbytes:
        return EncodedTensor(None, None, array, True, 0.0, energy)
    lossless = _smaller_lossless(array, shared, frame) if _lossless_may_win(array, frame) else None
    if lossless is not None:
        return EncodedTensor(lossless, None, array, True, 0.0, energy)
    error = kmeans.squared_error(values, shared)
    return EncodedTensor(frame, shared, array, False, error, energy)


def _lossless_may_win(array: AnyArray, shared: Frame) -> bool:
    """Whether floats may take less without loss: planes take no less than half of zstandard's.

    Those of few floats do only where some plane is constant.
    """
    low = array.view(np.uint8)[:: array.itemsize]
    if array.size <= TINY and not np.all(low == low[0]):
        return False
    size = 2 * len(shared.payload)
    return size >= array.nbytes or plane_choice.repetition(array) * array.nbytes <= size


def _encode_survivors(
    array: AnyArray, values: Weights, cutoff: float, energy: float
) -> EncodedTensor:
    """Prune, and keep what survives bit for bit: no codebook keeps the error that was promised."""
    pruned = np.abs(values) < cutoff
    tensor = _encode_exact(np.where(pruned, np.zeros((), array.dtype), array), energy)
    lost = weights.summarize(values[pruned]).energy
    return replace(tensor, exact=not pruned.any(), squared_error=lost)


def _encode_exact(array: AnyArray, energy: float | None) -> EncodedTensor:
    """Code a tensor bit for bit: at the entropy of its values where they are few, or by planes."""
    lossless = choice.encode_lossless([array]) if choice.is_too_varied(array) else None
    few = shared_tensor.already_shared(array, FEW_VALUES) if lossless is None else None
    if few is None:
        if lossless is None and array.size > SMALL:
            lossless = choice.encode_lossless([array])
        return EncodedTensor(lossless, None, array, True, 0.0, energy)
    return _encode_few(array, few, choice.encode_shared([few]), energy)


def _encode_few(
    array: AnyArray, few: SharedTensor, frame: Frame, energy: float | None
) -> EncodedTensor:
    """A tensor of few values as it was coded by them, or without sharing if that is smaller."""
    lossless = _smaller_lossless(array, few, frame)
    if lossless is not None:
        return EncodedTensor(lossless, None, array, True, 0.0, energy)
    return EncodedTensor(frame, few, array, True, 0.0, energy)


def _smaller_lossless(array: AnyArray, few: SharedTensor, shared: Frame) -> Frame | None:
    """The tensor without loss if that is smaller; a large one only if it may be.

    It may where the codebook is much of the frame, or where the tensor repeats itself.
    """
    size = len(shared.payload)
    heavy = HEAVY_CODEBOOK * few.codebook.nbytes > size
    if array.size > SMALL and not heavy and plane_choice.repetition(array) * array.nbytes > size:
        return None
    frame = choice.encode_lossless([array])
    return frame if len(frame.payload) < size else None
