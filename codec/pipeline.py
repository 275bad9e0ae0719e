"""The one place where the order of the stages is written: prune, share, code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dcz.codec import (
    coders,
    column_trellis,
    grid,
    kernels,
    mixed,
    mixed_group,
    multiples,
    plane_methods,
    row_trellis,
    share,
    stepped,
    trellis,
)
from dcz.codec.codebook import MAX_LEVELS
from dcz.codec.column_trellis import ColumnTrellisTensor
from dcz.codec.compensate import compensate
from dcz.codec.errors import RecipeError, located
from dcz.codec.frame import (
    MAX_GROUP,
    MAX_MIXED_GROUP,
    AnyArray,
    Frame,
    SharedTensor,
    is_floating,
)
from dcz.codec.grid import GridTensor
from dcz.codec.histogram import POSITIONS
from dcz.codec.huffman import MAX_ALPHABET
from dcz.codec.metric import Floats, Floats32
from dcz.codec.plan import TensorPlan, TensorSource
from dcz.codec.prune import Weights
from dcz.codec.row_trellis import RowTrellisTensor
from dcz.codec.runs import MAX_CLASSES
from dcz.codec.share import ALREADY_SHARED, INITIALISATIONS
from dcz.codec.stepped import SteppedTensor

FEW_VALUES = 4096
SMALL = 4096
FRAME_COST = 9
# Bytes of code that mixed contexts would rather share with other tensors.
SHORT_CODE = 4096
HEAVY_CODEBOOK = 128

GREATEST_STEP = float(np.finfo(np.float32).max)


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
    squared_error, energy : float
        Sums of (w - w')**2 and of w**2; 0 for tensors that hold NaN or infinity.
    few : SharedTensor or None
        What is decoded, as a frame of mixed contexts of several tensors may hold it; None where
        none should.
    shape : tuple of int
        Of the tensor; known where `few` is.
    output_error : float
        Predicted relative error of the network's output, where calibration tells.
    shift : float64[rows] or None
        How far the mean of what each row makes has moved, if that is made good elsewhere.
    """

    frame: Frame | None
    shared: SharedTensor | None
    array: AnyArray
    exact: bool
    squared_error: float
    energy: float
    few: SharedTensor | None = None
    shape: tuple[int, ...] = ()
    output_error: float = 0.0
    shift: Floats | None = None

    def decoded(self, start: int, stop: int) -> AnyArray:
        """Elements start to stop of what a decoder will give."""
        if self.shared is None:
            return self.array[start:stop]
        return kernels.take(self.shared.indices[start:stop], self.shared.codebook)


def encode(tensor: TensorSource, plan: TensorPlan) -> EncodedTensor:
    """Prune, share and code one tensor."""
    encoded = _encode_alone(tensor, plan)
    if plan.coder != "mixed" or not is_floating(tensor.dtype):
        return encoded
    return replace(encoded, few=_few_coded_weights(encoded), shape=tensor.shape)


def _few_coded_weights(tensor: EncodedTensor) -> SharedTensor | None:
    """The tensor under a codebook, if its code is so short that learning is much of it."""
    size = len(tensor.frame.payload) if tensor.frame is not None else 0
    if size > SHORT_CODE or not 0 < tensor.array.size <= MAX_MIXED_GROUP:
        return None
    shared = tensor.shared or share.already_shared(tensor.array, ALREADY_SHARED)
    if isinstance(shared, RowTrellisTensor | ColumnTrellisTensor):
        return None  # frames of several tensors have no such trellises
    if shared is not None:
        return shared if mixed.codable(shared) else None
    values = share.by_values(tensor.array, ALREADY_SHARED)
    stepped = values is not None and multiples.find(values.codebook, mixed_group.SPREAD)
    return values if stepped else None


def _encode_alone(tensor: TensorSource, plan: TensorPlan) -> EncodedTensor:
    with located(tensor=tensor.name):
        array = tensor.read().reshape(-1)
        if not is_floating(array.dtype):
            return _encode_exact(array, 0.0)
        values = share.widen(array)
        summary = kernels.summarize(values)
        if not plan.share or not share.shareable(summary):
            return _encode_exact(array, summary.energy if math.isfinite(summary.energy) else 0.0)
        few = share.already_shared(array, max(ALREADY_SHARED, plan.levels or 0))
        if few is not None and not _prunes(few, plan.cutoff):
            coder = "mixed" if plan.coder == "mixed" else "huffman"
            frame = coders.encode(few, tensor.shape, coder)
            return _encode_few(array, few, frame, summary.energy)
        shared = _prune_and_share(tensor, values, summary, plan, few)
        if shared is None:
            return _predicted(
                _encode_survivors(array, values, plan.cutoff, summary.energy), values, plan
            )
        shared, frame = _code(tensor, values, shared, plan)
        return _predicted(_smaller(array, values, shared, frame, summary.energy), values, plan)


def _predicted(tensor: EncodedTensor, values: Weights, plan: TensorPlan) -> EncodedTensor:
    """The tensor with what its errors do to the output."""
    if plan.metric is None or tensor.exact:
        return tensor
    changes = _changes(values, tensor.decoded(0, values.size))
    return replace(
        tensor, output_error=plan.metric.error(changes), shift=plan.metric.shift(changes)
    )


def corrected(original: AnyArray, tensor: EncodedTensor) -> EncodedTensor:
    """A tensor that was changed on purpose before it was encoded, measured against the original."""
    values = share.widen(original)
    changes = share.widen(tensor.decoded(0, values.size)) - values
    error = kernels.summarize(changes).energy
    energy = kernels.summarize(values).energy
    return replace(tensor, exact=error == 0, squared_error=error, energy=energy)


def _compensated(
    tensor: TensorSource, values: Weights, shared: SharedTensor, plan: TensorPlan
) -> SharedTensor:
    """Indices by which errors make up for each other, if that lowers the output's error."""
    if plan.metric is None or plan.metric.factors is None:
        return shared
    if not isinstance(shared, GridTensor | SteppedTensor):
        return shared
    pruned = np.abs(values) < plan.cutoff if plan.cutoff else None
    better = compensate(shared, values, tensor.shape, plan.metric.factors, pruned)
    errors = [
        plan.metric.error(_changes(values, kernels.take(found.indices, found.codebook)))
        for found in (shared, better)
    ]
    return better if errors[1] < errors[0] else shared


def _changes(values: Weights, decoded: AnyArray) -> Floats32:
    return np.asarray(decoded.astype(np.float32) - values.astype(np.float32))


def _code(
    tensor: TensorSource, values: Weights, shared: SharedTensor, plan: TensorPlan
) -> tuple[SharedTensor, Frame]:
    """The tensor coded, with errors that make up for each other where they can."""
    shared = _compensated(tensor, values, shared, plan)
    frame = coders.encode(shared, tensor.shape, plan.coder)
    other = _compensated_along_trellis(tensor, values, plan)
    if other is None:
        return shared, frame
    pairs = [(shared, frame), (other, coders.encode(other, tensor.shape, plan.coder))]
    return min(pairs, key=lambda pair: _price(values, pair[0], pair[1], plan))


def _price(values: Weights, shared: SharedTensor, frame: Frame, plan: TensorPlan) -> float:
    """The output's error, and what the bits of a frame might have saved elsewhere."""
    assert plan.metric is not None and plan.slope is not None
    changes = _changes(values, kernels.take(shared.indices, shared.codebook))
    slope = plan.slope * plan.metric.importance * plan.metric.compensation
    return plan.metric.error(changes) + slope * 8 * len(frame.payload)


def _compensated_along_trellis(
    tensor: TensorSource, values: Weights, plan: TensorPlan
) -> SharedTensor | None:
    """The tensor by a trellis that runs through its columns; None where it has no such."""
    if plan.quantizer != "trellis" or plan.metric is None or plan.slope is None:
        return None
    factors, step = plan.metric.factors, _step_for(plan.slope, trellis.SAVING_FACTOR)
    if factors is None or not column_trellis.takes_columns(tensor.shape, len(factors)) or not step:
        return None
    pruned = np.abs(values) < plan.cutoff if plan.cutoff else None
    try:
        found = column_trellis.quantize(
            values, tensor.shape, step, plan.states, factors, pruned, tensor.dtype
        )
    except ValueError:
        return None
    return found if np.isfinite(found.codebook.astype(np.float64)).all() else None


def _prunes(few: SharedTensor, cutoff: float) -> bool:
    magnitudes = np.abs(few.codebook.astype(np.float64))
    return bool(np.any((magnitudes > 0) & (magnitudes < cutoff)))


def _prune_and_share(
    tensor: TensorSource,
    values: Weights,
    summary: kernels.Summary,
    plan: TensorPlan,
    few: SharedTensor | None,
) -> SharedTensor | None:
    """The surviving weights under a codebook; their own values where they are few already."""
    zeros = summary.zeros > 0 or plan.cutoff > 0
    if not share.survives(summary, plan.cutoff):
        nothing = np.zeros(0, tensor.dtype)
        return share.assign(values, np.inf, nothing, zeros=True)
    if few is not None:
        survivors = share.surviving_values(few.codebook, plan.cutoff)
        return share.assign(values, plan.cutoff, survivors, zeros=zeros)
    if plan.quantizer == "trellis" and not _compensates(plan):
        return _share_by_trellis(tensor, values, summary, plan)
    if plan.slope is not None:
        return _share_on_grid(tensor, values, summary, plan, zeros=zeros)
    if plan.levels is None:
        return None
    levels = min(plan.levels, MAX_LEVELS - zeros)
    shape = share.histogram(values, plan.cutoff, summary, levels)
    centroids = INITIALISATIONS[plan.initialisation](shape, levels)
    codebook = share.make_codebook(shape, centroids, tensor.dtype)
    return share.assign(values, plan.cutoff, codebook, zeros=zeros)


def _compensates(plan: TensorPlan) -> bool:
    """Whether errors can make up for each other."""
    return plan.metric is not None and plan.metric.factors is not None


def _share_on_grid(
    tensor: TensorSource,
    values: Weights,
    summary: kernels.Summary,
    plan: TensorPlan,
    *,
    zeros: bool,
) -> SharedTensor | None:
    """The grid that suits the slope; one too fine for rate-distortion rounding rounds plainly."""
    assert plan.slope is not None
    if plan.metric is not None:
        by_rows = _share_by_rows(tensor, values, plan)
        if by_rows is not None:
            return by_rows
    step = _step_for(plan.slope, grid.SLOPE_FACTOR)
    levels = (summary.maximum - summary.minimum) / step if step else math.inf
    if levels < MAX_ALPHABET - 1:
        return grid.quantize(_kept(values, plan), tensor.shape, step, dtype=tensor.dtype)
    if levels > MAX_LEVELS - 2:
        return None
    shape = share.histogram(values, plan.cutoff, summary)
    apart = step / (shape.high - shape.low) * POSITIONS
    positions = np.asarray(apart * np.arange(math.floor(levels) + 1), np.float64)
    codebook = share.make_codebook(shape, positions, tensor.dtype)
    return share.assign(values, plan.cutoff, codebook, zeros=zeros)


def _step_for(slope: float, factor: float) -> float:
    """The step that suits a slope, as a file holds it: a float32, and a finite one."""
    return float(np.float32(min(math.sqrt(slope / factor), GREATEST_STEP)))


def _share_by_trellis(
    tensor: TensorSource, values: Weights, summary: kernels.Summary, plan: TensorPlan
) -> SharedTensor | None:
    """The trellis that suits the slope; None if its steps would be too many."""
    assert plan.slope is not None
    factor = trellis.SLOPE_FACTOR if plan.metric is None else trellis.SAVING_FACTOR
    shared = _share_by_row_trellis(tensor, values, plan, factor)
    step = _step_for(plan.slope, factor)
    greatest = max(summary.maximum, -summary.minimum)
    if shared is None and step and greatest / step <= trellis.MOST_STEPS:
        shared = trellis.quantize(
            _kept(values, plan), tensor.shape, step, plan.states, tensor.dtype
        )
    # Rounding up may lead past a narrow dtype's greatest number.
    finite = shared is not None and np.isfinite(shared.codebook.astype(np.float64)).all()
    return shared if finite else None


def _share_by_row_trellis(
    tensor: TensorSource, values: Weights, plan: TensorPlan, factor: float
) -> SharedTensor | None:
    """A trellis with steps by rows; None where one step is as good, or some are too fine."""
    assert plan.slope is not None
    if plan.metric is None or not stepped.takes_rows(tensor.shape):
        return None
    rows = plan.metric.row_classes(values.size, MAX_CLASSES)
    if rows is None:
        return None
    steps = [_step_for(plan.slope / importance, factor) for importance in rows.importances]
    kept = _kept(values, plan)
    try:
        return row_trellis.quantize(
            kept, tensor.shape, steps, rows.classes, plan.states, tensor.dtype
        )
    except ValueError:
        return None


def _kept(values: Weights, plan: TensorPlan) -> Weights:
    return np.where(np.abs(values) < plan.cutoff, 0, values) if plan.cutoff else values


def _share_by_rows(tensor: TensorSource, values: Weights, plan: TensorPlan) -> SharedTensor | None:
    """A grid for each class of rows; None where one for all is as good, or some are too fine."""
    assert plan.slope is not None and plan.metric is not None
    rows = plan.metric.row_classes(values.size)
    if plan.coder == "huffman" or rows is None or not stepped.takes_rows(tensor.shape):
        return None
    steps = [
        _step_for(plan.slope / importance, grid.SLOPE_FACTOR) for importance in rows.importances
    ]
    try:
        return stepped.quantize(
            _kept(values, plan), tensor.shape, steps, rows.classes, tensor.dtype
        )
    except RecipeError:
        return None


def _smaller(
    array: AnyArray, values: Weights, shared: SharedTensor, frame: Frame, energy: float
) -> EncodedTensor:
    """The shared tensor, or the original where that is smaller."""
    lossless = _smaller_lossless(array, shared, frame) if _lossless_may_win(array, frame) else None
    if lossless is not None:
        return EncodedTensor(lossless, None, array, True, 0.0, energy)
    error = share.squared_error(values, shared)
    return EncodedTensor(frame, shared, array, False, error, energy)


def _lossless_may_win(array: AnyArray, shared: Frame) -> bool:
    """Whether floats may take less without loss: planes take no less than half of zstandard's."""
    size = 2 * len(shared.payload)
    return size >= array.nbytes or plane_methods.repetition(array) * array.nbytes <= size


def _encode_survivors(
    array: AnyArray, values: Weights, cutoff: float, energy: float
) -> EncodedTensor:
    """Prune, and keep what survives bit for bit: no codebook keeps the error that was promised."""
    pruned = np.abs(values) < cutoff
    tensor = _encode_exact(np.where(pruned, np.zeros((), array.dtype), array), energy)
    lost = kernels.summarize(values[pruned]).energy
    return replace(tensor, exact=not pruned.any(), squared_error=lost)


def _encode_exact(array: AnyArray, energy: float) -> EncodedTensor:
    """Code a tensor bit for bit: at the entropy of its values where they are few, or by planes."""
    lossless = coders.encode_lossless([array]) if coders.is_too_varied(array) else None
    few = share.already_shared(array, FEW_VALUES) if lossless is None else None
    if few is None:
        if lossless is None and array.size > SMALL:
            lossless = coders.encode_lossless([array])
        return EncodedTensor(lossless, None, array, True, 0.0, energy)
    return _encode_few(array, few, coders.encode_shared([few]), energy)


def _encode_few(array: AnyArray, few: SharedTensor, frame: Frame, energy: float) -> EncodedTensor:
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
    if array.size > SMALL and not heavy and plane_methods.repetition(array) * array.nbytes > size:
        return None
    frame = coders.encode_lossless([array])
    return frame if len(frame.payload) < size else None


Key = tuple[object, ...]
# A frame, and the places of its tensors among those that were merged.
Merged = tuple[Frame, list[int]]


def group_key(tensor: EncodedTensor) -> Key | None:
    """What small tensors must have in common to share a frame; None for larger ones."""
    if tensor.few is not None:
        return tensor.array.dtype, "mixed", mixed_group.states_of(tensor.few)
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
    frame = mixed_group.encode(few, [tensor.shape for tensor in tensors])
    together = [(frame, list(range(len(tensors))))]
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
        return [(coders.encode_lossless([tensor.array for tensor in tensors]), places)]
    together = [(coders.encode_shared(shared), places)]
    pairs = zip(tensors, places, strict=True)
    alone = [(tensor.frame, [place]) for tensor, place in pairs if tensor.frame is not None]
    return together if _cost(together) < _cost(alone) else alone


def _cost(merged: Sequence[Merged]) -> int:
    """Bytes of frames, and of what differs in the index."""
    digests = sum(coders.CODERS[frame.coder].digest_bytes * len(own) for frame, own in merged)
    return digests + sum(len(frame.payload) + FRAME_COST for frame, _ in merged)
