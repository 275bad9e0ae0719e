"""Packing a checkpoint until it meets the recipe's aim."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from typing import BinaryIO

from ...codec.errors import RecipeError
from ...codec.rate.planner import Planner
from ...codec.rate.recipe import Recipe
from ...codec.rate.survey import SMALL
from ...codec.rate.target import Aim, ErrorAim, Outcome, search
from ...codec.report.report import Report
from ...codec.tensor_plan import TensorPlan
from ..checkpoints.base import Checkpoint
from .calibrated import Calibrated
from .packer import Kept, Packer, Progress, encode_each

# Where there are so many small tensors, some are tried before all of them are.
_MANY, _TRIED, _TRIED_WEIGHTS, _TRIALS, _NEAR = 512, 4096, 1 << 19, 3, 3

# The pruned weights' energy is summed twice, in different orders; no quantizer's error is as small.
_ROUNDING = 2.0**-50


class Attempts:
    """Packs a checkpoint at one slope after the other until it meets the recipe's aim."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        stream: BinaryIO,
        recipe: Recipe,
        jobs: int | None,
        progress: Progress | None,
    ) -> None:
        recipe.check_patterns(list(checkpoint.tensors))
        self._stream = stream
        self._jobs = jobs
        self._progress = progress
        calibrated = Calibrated.of(recipe, checkpoint)
        self._sources = calibrated.sources
        self._corrections = calibrated.corrections
        self._planner = Planner(
            self._sources.stored, recipe, calibrated.metrics, self._sources.tied
        )
        self._unseen = calibrated.unseen
        self._number: int | None = None
        self._kept: Kept = {}

    @property
    def slope(self) -> float | None:
        """Of the last attempt, if there is an aim."""
        return None if self._number is None else self._planner.slope(self._number)

    def run(self) -> Packer:
        """The last attempt, which the stream holds."""
        aim = self._planner.aim
        if aim is None:
            return self._attempt(self._planner.plans(0))
        outcomes: dict[tuple[TensorPlan, ...], Outcome] = {}
        last: dict[tuple[TensorPlan, ...], Packer] = {}

        plans_at = cache(lambda number: tuple(self._planner.plans(number)))

        def attempt(number: int) -> Outcome:
            plans = plans_at(number)
            if plans not in outcomes:
                last.clear()
                last[plans] = self._attempt(plans)
                outcomes[plans] = self._outcome(last[plans])
            return outcomes[plans]

        found = search(lambda number: aim.of(attempt(number)), aim, self._start(aim))
        if aim.of(attempt(found)) > aim.goal:
            raise RecipeError(aim.out_of_reach(attempt(found)))
        self._number = found
        plans = plans_at(found)
        return last.get(plans) or self._attempt(plans)

    def _start(self, aim: Aim) -> int:
        """Where to begin: where some of many small tensors say that the errors will be met."""
        planner, stored = self._planner, self._sources.stored
        every = planner.forecast.places
        numels = [stored[place].info.numel for place in every]
        if len(numels) < _MANY or planner.calibrated or not isinstance(aim, ErrorAim):
            return planner.start
        if max(numels) > SMALL:
            return planner.start
        chosen = slice(None, None, max(sum(numels) // _TRIED_WEIGHTS, len(every) // _TRIED) + 1)
        number = planner.start
        for _ in range(_TRIALS):
            tried = encode_each(
                [(stored[place], planner.plan(number, place)) for place in every[chosen]]
            )
            found = math.fsum(result.tensor.counted_error for result in tried)
            slope = planner.slope(number)
            told = planner.forecast.counted_error(slope, chosen)
            if not min(found, told) > 0:
                return planner.start
            step = aim.away(found / told * planner.forecast.outcome(slope).error)
            number += step
            if abs(step) < _NEAR:
                break
        return number

    def _attempt(self, plans: Sequence[TensorPlan]) -> Packer:
        self._stream.seek(0)
        self._stream.truncate()
        packer = Packer(
            self._sources,
            self._stream,
            self._jobs,
            self._progress,
            self._corrections,
            kept=self._kept,
        )
        packer.run(plans)
        return packer

    def complete(self, report: Report, packer: Packer) -> Report:
        """The report with what only packing knows."""
        whole = self._planner.whole
        lost = {
            name: error / whole[name]
            for name, error in packer.counted_errors.items()
            if whole.get(name)
        }
        report = dataclasses.replace(
            report,
            slope=self.slope,
            counted_error=packer.errors.counted,
            lost=lost,
            exact=dict(self._planner.exact),
            unpruned=self._planner.unpruned,
        )
        if not self._planner.calibrated:
            return report
        moved = {} if self._number is None else self._planner.moved_bits(self._number)
        tensors = tuple(
            dataclasses.replace(
                tensor,
                output_error=packer.counted_errors.get(tensor.name),
                moved_bits=moved.get(tensor.name),
            )
            for tensor in report.tensors
        )
        return dataclasses.replace(
            report, tensors=tensors, output_error=packer.errors.counted, unseen=self._unseen
        )

    def _outcome(self, packer: Packer) -> Outcome:
        counted = packer.errors.counted
        error = counted - self._planner.pruned_error
        return Outcome(self._stream.tell(), error if error > _ROUNDING * counted else 0.0)
