"""Rows on two cores over one, and on the exact threshold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import timing
from speed_table import Experiment
from workbench import Array, Workbench, gaussian

import dcz
from dcz.codec.kernels import coding
from dcz.codec.prune.magnitude import cutoff_for_sparsity
from dcz.formats.checkpoints.registry import open_checkpoint

TWICE = 1.7
Work = dict[str, Callable[[int], object]]
THRESHOLD_WEIGHTS = 20_000_000


def cores(bench: Workbench) -> list[Experiment]:
    """One thread on one core, two threads on two."""
    if timing.cores() < 2:
        return [Experiment("two cores", remarks=["this process has a single core"])]
    checkpoints = [_checkpoint(bench, name) for name in bench.names]
    return [_machine(bench), _one_tensor(bench), *checkpoints]


def _both(bench: Workbench, title: str, work: Work, target: float | None = TWICE) -> Experiment:
    """Time each piece of work on one core and on two."""

    def bound(action: Callable[[int], object], count: int) -> Callable[[], object]:
        def contestant() -> None:
            timing.run_on_cores(count)
            action(count)

        return contestant

    contestants = {
        f"{what}, {word}": bound(action, count)
        for what, action in work.items()
        for count, word in ((1, "one core"), (2, "two cores"))
    }
    experiment = Experiment(title, 0, timing.samples(contestants, max(bench.runs, 7)))
    for what in work:
        experiment.compare(
            f"{what}: two cores / one", f"{what}, two cores", f"{what}, one core", target
        )
    timing.run_on_one_core()
    return experiment


def _machine(bench: Workbench) -> Experiment:
    """What two cores can give here: memory is shared, and so may the cores be."""
    values = bench.arrays("synthetic")["weight"].reshape(-1)
    copy, symbols = np.empty_like(values), values.view(np.uint8)
    half = values.size // 2

    def copying(number: int) -> None:
        part = slice(number * half, (number + 1) * half)
        np.copyto(copy[part], values[part])

    def counting(number: int) -> None:
        coding.count_symbols(symbols[number * half : (number + 1) * half], 256)

    timing.run_on_cores(2)
    with ThreadPoolExecutor(2) as threads:

        def halves(action: Callable[[int], None], jobs: int) -> None:
            list(map(action, range(2)) if jobs == 1 else threads.map(action, range(2)))

        halves(counting, 2)
        work: Work = {
            "memcpy": partial(halves, copying),
            "a kernel that only counts": partial(halves, counting),
        }
        return _both(bench, "the machine", work, target=None)


def _one_tensor(bench: Workbench) -> Experiment:
    path = bench.packed("synthetic", bits=5)
    # The threads of an archive stay on the cores that it was first used on.
    timing.run_on_cores(2)
    with dcz.open(path, jobs=1) as one, dcz.open(path, jobs=2) as two:
        out = one["weight"]
        two.read("weight", out=out)
        archives = {1: one, 2: two}
        work: Work = {"archive.read(out=)": lambda jobs: archives[jobs].read("weight", out=out)}
        return _both(bench, "synthetic, 5 bits", work)


def _checkpoint(bench: Workbench, name: str) -> Experiment:
    packed, dest = bench.packed(name, bits=5), bench.scratch / "timed.dcz"
    recipe = dcz.Recipe(bits=5)
    with open_checkpoint(bench.source(name)) as opened:
        work: Work = {
            "load_file": lambda jobs: dcz.load_file(packed, jobs=jobs),
            "pack": lambda jobs: dcz.pack(opened, dest, recipe, jobs=jobs),
        }
        return _both(bench, f"{name}, 5 bits", work)


def threshold(bench: Workbench) -> list[Experiment]:
    """The magnitude below which 90% lie: of made-up weights and of CRAFT's, in one piece."""
    made_up = gaussian(THRESHOLD_WEIGHTS // 4096 * 4096).reshape(-1)
    weights = [a.reshape(-1) for a in bench.arrays("craft").values() if a.dtype == np.float32]
    return [
        _threshold(bench, "synthetic, 20 million", made_up),
        _threshold(bench, "craft, all weights", np.concatenate(weights)),
    ]


def _threshold(bench: Workbench, title: str, values: Array) -> Experiment:
    rank = int(0.9 * values.size)
    magnitudes = np.abs(values)
    select = partial(cutoff_for_sparsity, lambda: [values], values.size, 0.9, values.dtype)
    # NumPy gets the magnitudes ready; the selection finds them as it goes.
    partition = partial(np.partition, magnitudes, rank)
    if select() != partition()[rank]:
        raise RuntimeError(f"{title}: the thresholds differ")
    timing.run_on_one_core()
    contestants: dict[str, Callable[[], object]] = {
        "cutoff_for_sparsity": select,
        "np.partition": partition,
    }
    experiment = Experiment(title, values.size, timing.samples(contestants, bench.runs))
    what = "exact threshold / np.partition"
    experiment.compare(what, "cutoff_for_sparsity", "np.partition", 3.0)
    return experiment
