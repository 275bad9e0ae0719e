"""Rows on the squared error of `initialisation="optimal"`, beside the exact optimum."""

from __future__ import annotations

import numpy as np
import timing
from exact_kmeans import layered, lower_bound, make_cells
from speed_table import Experiment
from workbench import Array, Workbench

import dcz

LEVELS = (16, 32, 256)
MOST = 0.1
MANY_LEVELS = 256
# Cells: more of them where the slack leaves open whether the target was reached.
CELLS = (1 << 14, 1 << 17, 1 << 19)


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
    for levels in LEVELS:
        for each, error in errors[levels].items():
            # Zeros keep an entry of their own beside the levels.
            ordered = np.sort(arrays[each][arrays[each] != 0])
            bound, slack = _bound(ordered, levels, error)
            excess = 100 * (error / bound - 1)
            worst[levels] = max(worst[levels], (excess, each, 100 * slack / bound))
    for levels, (excess, tensor, slack) in worst.items():
        count = len(errors[levels])
        what = f"worst of {count} tensors: error above the exact optimum, k = {levels}"
        experiment.limit(what, excess, MOST, "%")
        experiment.remarks.append(
            f"k = {levels}: the worst is {tensor}; its optimum is known to within {slack:.4f}%"
            " (a lower bound is taken)"
        )
    return experiment


def _squared_error(array: Array, decoded: Array) -> float:
    return float(np.square(array.astype(np.float64) - decoded).sum())


def _bound(ordered: Array, levels: int, error: float) -> tuple[float, float]:
    """Return a lower bound of the error that `levels` can leave, and the bound's slack."""
    bound = slack = 0.0
    for most in CELLS:
        cells = make_cells(ordered, most)
        if levels < MANY_LEVELS and most == CELLS[0]:
            least = layered(cells, [levels])[levels]
        else:
            least = lower_bound(cells, levels, error)
        bound, slack = least - cells.slack, cells.slack
        if error <= bound * (1 + MOST / 200):
            break
    return bound, slack
