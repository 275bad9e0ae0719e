"""What numbers of levels cost and leave, in NumPy: the reference.

Every operation is exactly rounded by IEEE 754 or done in a fixed order: all machines agree.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....entropy import log2
from ...coding_arguments import Integers, integer_array, require

# Quarters of an octave up to 4,096 levels, and what lies between them.
MEASURED = np.array(sorted({round(2 ** (quarter / 4)) for quarter in range(49)}))
FILLED = np.setdiff1d(np.arange(1, 512), MEASURED)
EXTRAPOLATED = np.array([2**13, 2**14, 2**16])
# In the codebooks' sense: the weights stay as they are.
UNSHARED = 0
LEVELS = np.concatenate((MEASURED, FILLED, EXTRAPOLATED, [UNSHARED]))

Floats = npt.NDArray[np.float64]


class LevelPlan(NamedTuple):
    """How numbers of levels that are not measured follow from those that are.

    Attributes
    ----------
    measured : int64[m]
    after : int64[f]
        For each one between them the place of the next measured one.
    further : int64[e]
        Those beyond the last.
    bits_way, root_way : float64[f]
        How far each one between is on the way: in the number's logarithm, which bits are taken to
        be linear in, and in the number itself, which the error's root is taken to be inverse to.
    ratio, log_ratio : float64[e]
        Of those beyond to the last.
    """

    measured: Integers
    after: Integers
    further: Integers
    bits_way: Floats
    root_way: Floats
    ratio: Floats
    log_ratio: Floats


@cache
def level_plan() -> LevelPlan:
    """The plan for `LEVELS`."""
    after = np.searchsorted(MEASURED, FILLED)
    low, high = MEASURED[after - 1], MEASURED[after]
    ratio = EXTRAPOLATED / int(MEASURED[-1])
    return LevelPlan(
        integer_array(MEASURED),
        integer_array(after),
        integer_array(EXTRAPOLATED),
        log2(FILLED / low) / log2(high / low),
        (FILLED - low) / (high - low),
        ratio,
        log2(ratio),
    )


def rate_curve(
    means: Floats, counts: Integers, width: float, value_bits: int
) -> tuple[Integers, Floats, Floats]:
    """The lower convex hull of error over bits, for weights in so many cells of equal width.

    Parameters
    ----------
    means : float64[bins]
        Mean positions of the weights in each bin, from 0 to 1, ascending.
    counts : int64[bins]
        How many weights are in each.
    width : float
        Of the range of positions, in weights.
    value_bits : int
        Size of one codebook entry, and of a weight that is not shared.

    Returns
    -------
    levels : int64[points]
        Fewest bits first; `UNSHARED` for weights kept as they are.
    bits, errors : float64[points]
        Ascending bits, descending errors.

    Raises
    ------
    ValueError
        If the bins are not as described.
    """
    means, counts = check_bins(means, counts)
    total = int(counts.sum())
    bits, errors = _measure(means, counts, total, width, value_bits)
    plan = level_plan()
    further = total * plan.log_ratio + (plan.further - plan.measured[-1]) * float(value_bits)
    filled = _fill(bits, errors, plan)
    places = _hull(
        np.concatenate((bits, filled[0], bits[-1] + further, [float(total * value_bits)])),
        np.concatenate((errors, filled[1], errors[-1] / (plan.ratio * plan.ratio), [0.0])),
    )
    return LEVELS[places[0]], places[1], places[2]


def check_bins(means: Floats, counts: Integers) -> tuple[Floats, Integers]:
    """Return means and counts as arrays; ValueError unless they describe weights."""
    means = np.require(means, np.float64, ["C", "A"])
    counts = integer_array(counts)
    require(means.shape == counts.shape and means.ndim == 1 and means.size > 0, "no bins")
    require(bool(np.all(counts > 0)), "a bin has no weight")
    inside = means[0] >= 0 and means[-1] <= 1 and bool(np.all(means[1:] > means[:-1]))
    require(bool(inside), "positions do not ascend from 0 to 1")
    return means, counts


def _measure(
    means: Floats, counts: Integers, total: int, width: float, value_bits: int
) -> tuple[Floats, Floats]:
    """Bits and errors of the measured levels, all in one go."""
    many = counts.astype(np.float64)
    centred = means - 0.5
    cuts = np.concatenate([np.arange(levels + 1) / levels for levels in MEASURED])
    ends = np.cumsum(MEASURED + 1)
    edges = np.searchsorted(means, cuts)
    edges[ends - 1] = means.size
    moments = (many, many * centred, many * centred * centred)
    weight, first, second = (np.diff(_prefix(moment)[edges]) for moment in moments)
    filled = weight > 0
    filled[ends[:-1] - 1] = False  # from the last edge of one to the first of the next
    weight = np.where(filled, weight, 1.0)
    cell_errors = np.where(filled, second - first * first / weight, 0.0)
    cell_bits = weight * (log2(float(total)) - log2(weight)) + value_bits
    errors = np.maximum(_sums(cell_errors, ends), 0.0) * width * width
    return _sums(np.where(filled, cell_bits, 0.0), ends), errors


def _sums(cells: Floats, ends: Integers) -> Floats:
    """Sums of the cells of each number of levels; the edges of each end before `ends`."""
    return np.diff(_prefix(cells)[np.concatenate(([0], ends - 1))])


def _prefix(values: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values)))


def _fill(bits: Floats, errors: Floats, plan: LevelPlan) -> tuple[Floats, Floats]:
    """Bits and errors of the numbers of levels between measured ones, for aims that fine.

    Infinite where no error is left before.
    """
    after, before = plan.after, plan.after - 1
    usable = errors[after] > 0
    roots = 1 / np.sqrt(np.maximum(errors, np.finfo(np.float64).tiny))
    root = roots[before] + (roots[after] - roots[before]) * plan.root_way
    found = bits[before] + plan.bits_way * (bits[after] - bits[before])
    with np.errstate(over="ignore", under="ignore"):
        left = 1 / (root * root)
    return np.where(usable, found, np.inf), np.where(usable, left, np.inf)


def _hull(bits: Floats, errors: Floats) -> tuple[list[int], Floats, Floats]:
    kept: list[int] = []
    for place in np.lexsort((errors, bits)).tolist():
        if kept and (errors[place] >= errors[kept[-1]] or bits[place] <= bits[kept[-1]]):
            continue
        while len(kept) > 1 and not _turns(bits, errors, kept[-2], kept[-1], place):
            kept.pop()
        kept.append(place)
    return kept, bits[kept], errors[kept]


def _turns(bits: Floats, errors: Floats, first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies below the line from the first to the last."""
    before = (errors[middle] - errors[first]) / (bits[middle] - bits[first])
    after = (errors[last] - errors[middle]) / (bits[last] - bits[middle])
    return bool(before < after)
