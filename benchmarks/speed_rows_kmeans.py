"""Rows on the squared error of `initialisation="optimal"`, beside the exact optimum."""

from __future__ import annotations

import numpy as np
import timing
from exact_kmeans import layered, lower_bound, make_cells
from speed_table import Experiment
from workbench import Array, Workbench

import dcz

LEVELS = (16, 32, 256)
# Cells: enough for a slack well below 0.1%.
FEW, MANY = 1 << 14, 1 << 17
MANY_LEVELS = 256
MOST_SLACK = 1e-4


def kmeans(bench: Workbench) -> list[Experiment]:
    """Every tensor that is shared, at 16, 32 and 256 levels."""
    names = ["efficientnet-lite0"] if bench.quick else bench.names
    timing.run_on_cores(timing.cores())
    return [_kmeans(bench, name) for name in names]


def _kmeans(bench: Workbench, name: str) -> Experiment:
    arrays = bench.arrays(name)
    experiment = Experiment(f"{name}, k-means")
    errors: dict[int, dict[str, float]] = {}
    for levels in LEVELS:
        path = bench.packed(name, levels=levels, initialisation="optimal")
        with dcz.open(path) as archive:
            errors[levels] = {
                each: _squared_error(arrays[each], archive[each])
                for each in archive
                if not archive.is_exact(each)
            }
    worst = dict.fromkeys(LEVELS, (0.0, "", 0.0))
    for each in errors[LEVELS[0]]:
        bounds = _bounds(arrays[each], {k: errors[k].get(each, 0.0) for k in LEVELS})
        for levels, (bound, slack) in bounds.items():
            if each in errors[levels]:
                excess = 100 * (errors[levels][each] / bound - 1)
                worst[levels] = max(worst[levels], (excess, each, 100 * slack / bound))
    for levels, (excess, tensor, slack) in worst.items():
        count = len(errors[levels])
        what = f"worst of {count} tensors: error above the exact optimum, k = {levels}"
        experiment.limit(what, excess, 0.1, "%")
        experiment.remarks.append(
            f"k = {levels}: the worst is {tensor}; its optimum is known to within {slack:.4f}%"
            " (a lower bound is taken)"
        )
    return experiment


def _squared_error(array: Array, decoded: Array) -> float:
    return float(np.square(array.astype(np.float64) - decoded).sum())


def _bounds(array: Array, errors: dict[int, float]) -> dict[int, tuple[float, float]]:
    """Return for each number of levels a lower bound of the error, and its slack."""
    # Zeros keep an entry of their own beside the levels.
    values = array[array != 0]
    few = make_cells(values, FEW)
    exact = layered(few, [k for k in errors if k < MANY_LEVELS])
    bounds = {k: (error - few.slack, few.slack) for k, error in exact.items()}
    many = None
    for levels, error in errors.items():
        known = levels in bounds and bounds[levels][1] <= MOST_SLACK * error
        if known or not error:
            continue
        many = many or make_cells(values, MANY)
        bounds[levels] = (lower_bound(many, levels, error) - many.slack, many.slack)
    return bounds
