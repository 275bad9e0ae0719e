"""Which tensors of two and more dimensions are no weights, and are kept bit for bit.

Checkpoints carry masks, tables of positions, anchors, scales and statistics beside their weights.
They are small, an error in them can break a network, and what they hold says nothing of how large
errors in weights may be. What is recognised by its values is recognised at any scale: a mask
multiplied by a power of two is a mask.
"""

from __future__ import annotations

import math

import numpy as np

from .. import weights
from ..kernels import weight_arguments
from ..share import shared_tensor
from ..wire.arrays import AnyArray

FEW_VALUES = "few values"
_MOST_VALUES = 256
# Whole multiples of one power of two, up to so many of it, are counts, indices or positions.
MOST_UNITS = 1 << 13
# Elements along a single axis are a vector as biases are, unless there are very many.
LONGEST_VECTOR = 1 << 16
_SAMPLED = 64

# Last parts of the names that frameworks give to what is computed and not learned.
_BUFFERS = {
    "position": (
        "position_ids",
        "relative_position_index",
        "relative_coords_table",
        "relative_position_ids",
        "anchors",
        "anchor_grid",
        "anchor_points",
        "priors",
        "grid",
        "stride",
        "strides",
        "pixel_shift",
    ),
    "frequency": (
        "inv_freq",
        "freqs",
        "freqs_cis",
        "freqs_cos",
        "freqs_sin",
        "cos_cached",
        "sin_cached",
        "mel_filters",
        "mel_fb",
        "dct_mat",
        "window",
    ),
    "mask": ("mask", "attn_mask", "attention_mask", "causal_mask", "masked_bias"),
    "statistic": ("running_mean", "running_var", "running_std", "num_batches_tracked"),
    "scale": ("scale", "scales", "weight_scale", "input_scale", "absmax", "zero_point", "qzeros"),
}
_KIND_OF_BUFFER = {name: kind for kind, names in _BUFFERS.items() for name in names}


def why_exact(name: str, array: AnyArray, summary: weight_arguments.Summary) -> str | None:
    """Why a tensor of two or more dimensions is to be kept as it is; None for weights.

    Parameters
    ----------
    name : str
        Of which the last part counts, after any dot or slash.
    array : array of a floating-point dtype
    summary : kernels.Summary
        Of its elements.
    """
    if not summary.finite:
        return "not finite"
    if not weights.prunable(summary):
        return "extreme magnitudes"
    kind = _KIND_OF_BUFFER.get(name.replace("/", ".").rsplit(".", 1)[-1].lower())
    if kind is not None:
        return f"named as a {kind}"
    if array.size == max(array.shape) <= LONGEST_VECTOR:
        return "a vector"
    if shared_tensor.already_shared(array, _MOST_VALUES) is not None:
        return FEW_VALUES
    return "whole multiples" if _is_whole(array) else None


def _is_whole(array: AnyArray) -> bool:
    """Whether all elements are multiples of a power of two, and none is a large one."""
    flat = array.reshape(-1)
    sample = flat[:_SAMPLED].astype(np.float64).tolist()
    return all(_odd_part(value) <= MOST_UNITS for value in sample) and _units(flat) <= MOST_UNITS


def _odd_part(value: float) -> int:
    """The magnitude in units of the greatest power of two that divides it; 0 for 0."""
    whole = abs(value.as_integer_ratio()[0])
    return whole // (whole & -whole) if whole else 0


def _units(flat: AnyArray) -> float:
    """The greatest magnitude, in units of the greatest power of two that divides all elements."""
    values = np.abs(flat[flat != 0].astype(np.float64))
    if not values.size:
        return 0.0
    fractions, exponents = np.frexp(values)
    # 53 bits of an odd part and what is below it: the lowest bit set is the unit.
    whole = np.ldexp(fractions, 53).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    unit = int((exponents - 53 + lowest).min())
    return math.ldexp(float(values.max()), -unit) if exponents.max() - unit < 64 else math.inf
