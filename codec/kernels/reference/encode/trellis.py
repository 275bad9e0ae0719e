"""Dependent quantization in NumPy: the oracle the C kernel is held to, and its stand-in.

Two quantizers take turns (Schwarz et al. 2019, as in H.266 and NNC): the even half steps, and zero
with the odd ones. A state machine says which is next, and the parity of each level drives it, so
that the points of both together lie as densely as half steps, at the bits of whole steps. The best
sequence of levels is the shortest path through the machine's states (Viterbi).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...coding_arguments import Bytes, Integers, require
from ...weight_arguments import value_array

# For each number of states what an odd level, and what an odd state, changes in the next state:
# next = state >> 1 ^ odd * (level & 1) ^ low * (state & 1). One state is no trellis.
TRELLISES = {1: (0, 0), 4: (2, 2), 8: (2, 5), 16: (2, 9), 32: (4, 18), 64: (10, 33)}
RATE_CLASSES, RATE_LEVELS = 32, 24
MOST_HALF_STEPS = 65536

Floats = npt.NDArray[np.float64]


def predecessors(states: int) -> npt.NDArray[np.intp]:
    """For each state both ways into it, as 2 * state before + parity of the level: [states, 2]."""
    odd, low = TRELLISES[states]
    ways: list[list[int]] = [[] for _ in range(states)]
    for state in range(states):
        for parity in (0, 1):
            ways[state >> 1 ^ odd * parity ^ low * (state & 1)].append(2 * state + parity)
    return np.array(ways, np.intp)


def quantize_trellis(
    values: npt.NDArray[Any],
    scale: float,
    states: int,
    classes: Bytes,
    rates: Floats,
    *,
    closed: bool = False,
) -> tuple[npt.NDArray[np.int32], Integers]:
    """The positions whose squared errors and rates have the least sum; zeros stay zero.

    Parameters
    ----------
    values : float32[n] or float64[n]
    scale : float
        Half steps to a unit.
    states : int
        Of the trellis: 4, 8, 16, 32 or 64; it begins in state 0.
    classes : uint8[n]
        Which rates hold for each value.
    rates : float64[RATE_CLASSES, 2, RATE_LEVELS]
        What a level of a magnitude costs in an even and in an odd state, in half steps squared;
        the last stands for all greater ones too.
    closed : bool
        Whether the path ends in state 0, too, so that another may follow. One of even levels does.

    Returns
    -------
    positions : int32[n]
        In half steps.
    counts : int64[RATE_CLASSES, 2, RATE_LEVELS]
        How often each rate was paid.

    Raises
    ------
    ValueError
        If a value is not within 65,536 half steps of zero, or a class has no rates.
    """
    require(states > 1 and states in TRELLISES, "a trellis has 4, 8, 16, 32 or 64 states")
    array = value_array(values)
    require(len(classes) == array.size, "values and classes differ in number")
    require(not array.size or int(classes.max()) < RATE_CLASSES, "a class has no rates")
    sizes = np.abs(array.astype(np.float64) * scale)
    require(bool(np.all(sizes < MOST_HALF_STEPS)), "a value is too many steps from zero")
    levels, costs = _candidates(sizes, classes, rates.reshape(-1, RATE_LEVELS))
    chosen = _shortest_path(costs, states, closed)
    index = np.arange(array.size)
    sizes_chosen = levels[index, chosen]
    low = chosen >> 1
    counts = np.zeros((RATE_CLASSES, 2, RATE_LEVELS), np.int64)
    np.add.at(counts, (classes, low, np.minimum(sizes_chosen, RATE_LEVELS - 1)), 1)
    positions = 2 * sizes_chosen - low * (sizes_chosen > 0)
    return np.where(array < 0, -positions, positions).astype(np.int32), counts


def _candidates(
    sizes: Floats, classes: Bytes, rates: Floats
) -> tuple[npt.NDArray[np.int64], Floats]:
    """For each value the best magnitude, and its cost, at 2 * (state & 1) + parity: [n, 4]."""
    levels = np.zeros((sizes.size, 4), np.int64)
    costs = np.full((sizes.size, 4), np.inf)
    for low in (0, 1):
        nearest = ((sizes + low) * 0.5).astype(np.int64)
        for parity in (0, 1):
            below = nearest - (nearest & 1 ^ parity)
            at = 2 * low + parity
            for level in (below, below + 2, below - 2, 0 * below + (-1 if parity else 0)):
                points = np.where(level > 0, 2.0 * level - low, 0.0)
                apart = sizes - points
                rate = rates[2 * classes.astype(np.int64) + low, np.clip(level, 0, RATE_LEVELS - 1)]
                cost = np.where(level < 0, np.inf, apart * apart + rate)
                better = cost < costs[:, at]
                costs[better, at] = cost[better]
                levels[better, at] = level[better]
    costs[np.ix_(sizes == 0, [1, 3])] = np.inf
    return levels, costs


def _shortest_path(costs: Floats, states: int, closed: bool) -> npt.NDArray[np.int64]:
    """For each value 2 * (state & 1) + parity on the path of least cost: int64[n]."""
    ways = predecessors(states)
    before = ways >> 1
    columns = 2 * (before & 1) + (ways & 1)
    reached = np.full(states, np.inf)
    reached[0] = 0.0
    second = np.zeros((len(costs), states), np.bool_)
    for i, cost in enumerate(costs):
        sums = reached[before] + cost[columns]
        second[i] = sums[:, 1] < sums[:, 0]
        reached = np.where(second[i], sums[:, 1], sums[:, 0])
    chosen = np.zeros(len(costs), np.int64)
    state = 0 if closed else int(np.argmin(reached))
    for i in reversed(range(len(costs))):
        way = ways[state, int(second[i, state])]
        state = int(way) >> 1
        chosen[i] = 2 * (state & 1) + (int(way) & 1)
    return chosen
