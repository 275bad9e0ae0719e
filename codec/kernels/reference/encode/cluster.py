"""One-dimensional k-means on a histogram, in NumPy: the definition of centroids, to the last bit.

1. The non-empty bins are points: weight = count, x = sum / count.
2. High-resolution theory gives each point a share of the levels, the cube root of its weight times
   the square of its width (Panter and Dite, 1951), capped at one group; the points are cut into
   some 16 groups a level of about equal shares, and the groups into clusters likewise.
3. Dynamic programming over the groups, in a band around those ends, finds the best clusters; again
   around the new ends while one of them lies on the rim of its band.
4. Dynamic programming over the points within a group of those ends.

Within a row of the programme the best start never decreases with the end, which lets the middle
end's start bound the others' (divide and conquer).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...weight_arguments import BINS, check_levels

GROUPS_PER_LEVEL = 16
LEAST_GROUPS = 512
BAND = 256
BAND_ROUNDS = 8
QUOTA_STEPS = 16

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Points(NamedTuple):
    """The non-empty bins' means, and the totals of all points before each (and of all)."""

    mean: Floats
    weight: NDArray[np.uint64]
    sum: NDArray[np.uint64]

    def means(self, starts: Integers, ends: Integers) -> Floats:
        """Return the means of runs of points."""
        sums = (self.sum[ends] - self.sum[starts]).astype(np.float64)
        return sums / (self.weight[ends] - self.weight[starts]).astype(np.float64)


class Moments(NamedTuple):
    """Sums before each cut of weight, weight x and weight x squared, x centred and scaled."""

    weight: Floats
    first: Floats
    second: Floats


class Windows(NamedTuple):
    """The cuts allowed as end of each cluster: both bounds included and strictly ascending."""

    low: Integers
    high: Integers


def cluster(counts: Integers, sums: Integers, levels: int) -> Floats:
    """Find k-means centroids of a histogram.

    Returns at most `levels` centroids, ascending, in units of position; fewer only if fewer bins
    are in use, whose means they then are.

    Raises ValueError for levels outside 1..65536 and for what is no histogram.
    """
    check_levels(levels)
    points = _collect_points(counts, sums)
    count = points.mean.size
    if count <= levels:
        return points.mean.copy()
    moments = _point_moments(points)
    shares = _find_shares(points)
    group_ends = _group_points(shares, levels)
    ends = _cluster_groups(moments, shares, group_ends, levels)
    ends = _best_path(moments, _point_windows(ends, group_ends), count)
    return points.means(np.concatenate([[0], ends[:-1]]), ends)


def lloyd(counts: Integers, sums: Integers, centroids: ArrayLike, steps: int) -> Floats:
    """Iterate k-means on a histogram from given centroids.

    A point belongs to the lower of two centroids if it is not beyond their midpoint; an empty
    cluster keeps its centroid. Stops after `steps`, or when no point changes its cluster.
    Returns the centroids, ascending, without repetitions.

    Raises ValueError unless centroids are finite and strictly ascending, and for what is no
    histogram.
    """
    points = _collect_points(counts, sums)
    moving = np.array(centroids, np.float64, ndmin=1)
    check_levels(moving.size)
    if not np.isfinite(moving).all() or (moving[1:] <= moving[:-1]).any():
        raise ValueError("centroids are not finite and ascending")
    previous = np.full(moving.size, -1, np.int64)
    for _ in range(steps):
        inner = np.searchsorted(points.mean, (moving[:-1] + moving[1:]) * 0.5, side="right")
        ends = np.append(inner, points.mean.size)
        if (ends == previous).all():
            break
        starts = np.concatenate([[0], ends[:-1]])
        used = ends > starts
        moving[used] = points.means(starts[used], ends[used])
        previous = ends
    kept: Floats = moving[np.concatenate([[True], moving[1:] > moving[:-1]])]
    return kept


def cube_root(x: Floats) -> Floats:
    """Return about the cube root of positive x, within 6%, the same on every machine."""
    bits = np.ascontiguousarray(x).view(np.uint64)
    # dividing the bits by three divides the exponent, whose bias is 1023 = 682 + 1023 / 3
    return (bits // np.uint64(3) + np.uint64(682 << 52)).view(np.float64)


def _collect_points(counts: Integers, sums: Integers) -> Points:
    if counts.size > BINS or counts.size != sums.size:
        raise ValueError("counts and sums are not a histogram")
    used = counts != 0
    weight = np.asarray(counts, np.int64)[used]
    total = np.asarray(sums, np.int64)[used]
    mean = total / np.maximum(weight, 1)
    valid = (
        (weight > 0).all()
        and int(weight.sum()) < 2**32
        and (total >= 0).all()
        and (mean <= 2.0**32 - 1).all()
        and (mean[1:] > mean[:-1]).all()
        and not np.asarray(sums)[~used].any()
    )
    if not valid:
        raise ValueError("counts and sums are not a histogram")
    zero = np.zeros(1, np.uint64)
    return Points(
        mean,
        np.concatenate([zero, np.cumsum(weight.astype(np.uint64))]),
        np.concatenate([zero, np.cumsum(total.astype(np.uint64))]),
    )


def _point_moments(points: Points) -> Moments:
    whole = np.array([points.mean.size])
    x = (points.mean - points.means(np.array([0]), whole)) * 2.0**-32
    weight = np.diff(points.weight).astype(np.float64)
    terms = (weight, weight * x, weight * x * x)
    return Moments(*(np.concatenate([[0.0], np.cumsum(term)]) for term in terms))


def _find_shares(points: Points) -> Floats:
    order = np.arange(points.mean.size)
    before = np.maximum(order - 1, 0)
    after = np.minimum(order + 1, order.size - 1)
    width = (points.mean[after] - points.mean[before]) / (after - before)
    return cube_root(np.diff(points.weight).astype(np.float64) * (width * width))


def _sum(x: Floats) -> float:
    rows = np.concatenate([x, np.zeros(-x.size % 8)]).reshape(-1, 8)
    return float(np.add.accumulate(np.add.accumulate(rows, axis=0)[-1])[-1])


def _level_shares(shares: Floats, parts: int) -> tuple[Floats, float]:
    """Lower the shares above one part in `parts` of their sum; return them and the sum."""
    total = _sum(shares)
    for _ in range(QUOTA_STEPS):
        before = total
        shares = np.minimum(shares, before / parts)
        total = _sum(shares)
        if total == before:
            break
    return shares, total


def _reached(shares: Floats, parts: int) -> Floats:
    """Return the part, out of `parts` of equal shares, where the middle of each item lies."""
    levelled, total = _level_shares(shares, parts)
    before = np.concatenate([[0.0], np.cumsum(levelled)[:-1]])
    return (before + levelled * 0.5) / total * parts


def _group_points(shares: Floats, levels: int) -> Integers:
    """Return the ends of groups of about equal shares; no fewer groups than levels."""
    limit = min(shares.size, max(LEAST_GROUPS, GROUPS_PER_LEVEL * levels))
    if shares.size > limit:
        part = np.minimum(_reached(shares, limit).astype(np.int64), limit - 1)
        part = np.maximum.accumulate(part)
        ends = np.append(np.flatnonzero(part[1:] > part[:-1]) + 1, shares.size)
        if ends.size >= levels:
            return ends
    return np.arange(1, limit + 1) * shares.size // limit


def _cluster_groups(
    moments: Moments, shares: Floats, group_ends: Integers, levels: int
) -> Integers:
    """Return the ends, in groups, of the best clusters of groups."""
    groups = group_ends.size
    cuts = np.concatenate([[0], group_ends])
    grouped = Moments(*(moment[cuts] for moment in moments))
    reached = _reached(np.diff(np.concatenate([[0.0], np.cumsum(shares)])[cuts]), levels)
    ends = np.searchsorted(reached, np.arange(1.0, levels + 1))
    for _ in range(BAND_ROUNDS):
        windows = _band_windows(ends, groups)
        ends = _best_path(grouped, windows, groups)
        least = np.arange(1, levels + 1)
        on_low = (ends == windows.low) & (ends != least)
        on_high = (ends == windows.high) & (ends != groups - levels + least)
        if not (on_low | on_high)[:-1].any():
            break
    return ends


def _band_windows(ends: Integers, groups: int) -> Windows:
    levels = ends.size
    order = np.arange(levels)
    most = groups - levels + 1 + order
    # the running maximum of x - order, plus order, makes x strictly ascending
    low = np.maximum.accumulate(np.maximum(ends - BAND, 1) - order) + order
    high = np.maximum.accumulate(ends + BAND - order) + order
    windows = Windows(np.minimum(most, low), np.minimum(most, high))
    windows.low[-1] = windows.high[-1]
    return windows


def _point_windows(ends: Integers, group_ends: Integers) -> Windows:
    """Allow a group to either side of each end."""
    cuts = np.concatenate([[0], group_ends])
    low = cuts[ends - 1] + 1
    high = cuts[np.minimum(ends + 1, group_ends.size)] - 1
    low[-1] = high[-1] = group_ends[-1]
    return Windows(low, high)


def _best_path(moments: Moments, windows: Windows, count: int) -> Integers:
    """Return the ends of the best clusters within their windows."""
    levels = windows.low.size
    start_low = 0
    cost = np.zeros(1)
    rows = []
    for low, high in zip(windows.low.tolist(), windows.high.tolist(), strict=True):
        cost, splits = _split_ends(moments, cost, start_low, low, high)
        rows.append(splits)
        start_low = low
    ends = np.full(levels, count, np.int64)
    for level in range(levels - 1, 0, -1):
        ends[level - 1] = rows[level][ends[level] - windows.low[level]]
    return ends


def _split_ends(
    moments: Moments, cost: Floats, start_low: int, end_low: int, end_high: int
) -> tuple[Floats, Integers]:
    """Return cost and start of the last cluster for each end; `cost` belongs to the starts."""
    opened = cost - moments.second[start_low : start_low + cost.size]
    costs = np.empty(end_high - end_low + 1)
    splits = np.empty(costs.size, np.int64)
    first, last = np.array([end_low]), np.array([end_high])
    low, high = np.array([start_low]), np.array([start_low + cost.size - 1])
    while first.size:
        middle = first + (last - first) // 2
        value, split = _best_splits(
            moments, opened, start_low, low, np.minimum(high, middle - 1), middle
        )
        costs[middle - end_low] = moments.second[middle] + value
        splits[middle - end_low] = split
        first, last = np.append(first, middle + 1), np.append(middle - 1, last)
        low, high = np.append(low, split), np.append(split, high)
        open_ends = first <= last
        first, last = first[open_ends], last[open_ends]
        low, high = low[open_ends], high[open_ends]
    return costs, splits


def _best_splits(
    moments: Moments, opened: Floats, origin: int, low: Integers, high: Integers, end: Integers
) -> tuple[Floats, Integers]:
    """Return, for each end, the least cost over its starts low .. high and the first such start."""
    length = high - low + 1
    offset = np.cumsum(length) - length
    cut = np.arange(int(length.sum())) + np.repeat(low - offset, length)
    ends = np.repeat(end, length)
    mass = moments.first[ends] - moments.first[cut]
    trial = opened[cut - origin] - mass * mass / (moments.weight[ends] - moments.weight[cut])
    least = np.minimum.reduceat(trial, offset)
    hits = np.flatnonzero(trial == np.repeat(least, length))
    return least, cut[hits[np.searchsorted(hits, offset)]]
