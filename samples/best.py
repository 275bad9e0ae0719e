"""The recipe that goes furthest: distil, prune by price, freeze on a grid.

A narrow network is distilled from two teachers, loses whole units, kernels and single weights stage
by stage where a bit costs the least loss, and is frozen on one grid a layer, a few weights at a
time. Every stage keeps the better of its last and its averaged weights, by the validation split.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import chain
import prices
import storage
import teachers
import torch
from loops import Digits, batches, error_rate, progress
from settings import SETTINGS, Segment
from torch import Tensor, nn

import dcz

AVERAGED = 0.998
PRUNE_EVERY, FREEZE_EVERY = 40, 25
ALPHA = 0.9
# Apart, so that two runs may have seeds next to each other.
SEGMENT_SEEDS = 1000


def compress(
    recipe: str, name: str, seed: int, train: Digits, check: Digits
) -> tuple[nn.Module, float]:
    """Return a network of the full widths, most of it zero, its weights on grids.

    And the seconds of processor time that earlier runs spent on segments found stored.
    """
    settings = SETTINGS[recipe][name]
    lessons = teachers.lessons(train, check)
    torch.manual_seed(seed)
    small = chain.build(name, settings.widths)
    store = storage.Store(name, [seed, settings.widths, settings.batch])
    for number, segment in enumerate(settings.segments):
        trainer = Trainer(name, lessons, check, settings.batch, SEGMENT_SEEDS * number + seed)
        small = store.segment(segment, partial(trainer.prune, small, segment))
    trainer = Trainer(name, lessons, check, settings.batch, seed)
    frozen = trainer.freeze(small, settings.freezing, settings.mean_level)
    return chain.widen(name, frozen), store.seconds


@dataclass(frozen=True, slots=True)
class Trainer:
    """What a segment of training needs besides its settings.

    `seed` orders the images: equal networks come out alike, whatever training led to them.
    """

    name: str
    lessons: teachers.Lessons
    check: Digits
    batch: int
    seed: int

    def prune(self, network: nn.Module, segment: Segment) -> nn.Module:
        """Train, and prune on a cubic ramp over the first two thirds, where the segment says so.

        Units that are dead at the end are gone from the network that is returned.
        """
        masks = dcz.training.masks_of_zeros(network, biases=True)
        start = sum(int(mask.sum()) for mask in masks.values())
        ramp_end = self._steps(segment) * 2 // 3
        aim = segment.survivors
        if aim is None:
            return self._run(network, segment, f"{start:,} weights", lambda *_: None)
        pruner = dcz.training.Pruner(
            network, dcz.training.Steps(()), score="gradient", biases=True, masks=masks
        )

        def after(step: int) -> None:
            pruner.step()
            if step % PRUNE_EVERY == 0 and step <= ramp_end:
                left = round(aim + (start - aim) * (1 - step / ramp_end) ** 3)
                weights = {k: p.detach() for k, p in network.named_parameters()}
                squares = pruner.squared_gradients
                pruner.restrict(prices.cheapest(self.name, weights, squares, pruner.masks, left))

        best = self._run(network, segment, f"{aim:,} weights", after, lambda: pruner.masks)
        pruner.finish()
        return chain.narrow(self.name, best)

    def freeze(self, network: nn.Module, segment: Segment, mean_level: float) -> nn.Module:
        """Fix every weight at a level of its layer's grid, the cheapest first."""
        steps = self._steps(segment)
        ramp = dcz.training.Linear(1.0, 100, steps * 11 // 12, every=FREEZE_EVERY)
        freezer = dcz.training.Freezer(network, ramp, mean_level=mean_level)
        self._run(network, segment, "freezing", lambda step: freezer.step(), average=False)
        freezer.finish()
        return network

    def _steps(self, segment: Segment) -> int:
        return segment.epochs * -(-len(self.lessons.plain) // self.batch)

    def _run(
        self,
        network: nn.Module,
        segment: Segment,
        text: str,
        after: Callable[[int], object],
        masks: Callable[[], Mapping[str, Tensor]] = dict,
        average: bool = True,
    ) -> nn.Module:
        loss = dcz.training.DistillationLoss(segment.temperature, ALPHA)
        optimizer = torch.optim.Adam(network.parameters(), segment.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, self._steps(segment), segment.learning_rate / 50
        )
        averaged = copy.deepcopy(network)
        order = torch.Generator().manual_seed(self.seed)
        step = 0
        with progress(f"{self.name} {text}", segment.epochs) as report:
            for _ in range(segment.epochs):
                network.train()
                lesson = self.lessons.epoch(segment.augmented, order)
                for batch in batches(lesson, self.batch, order):
                    assert batch.logits is not None
                    optimizer.zero_grad()
                    loss(network(batch.images), batch.logits, batch.labels).backward()
                    optimizer.step()
                    schedule.step()
                    step += 1
                    after(step)
                    if average:
                        _average(averaged, network)
                error = error_rate(network, self.check)
                report(f"{_nonzero(network):,} left, validation error {error:.2%}")
        if not average:
            return network
        with torch.no_grad():
            for key, kept in masks().items():
                averaged.get_parameter(key).masked_fill_(~kept, 0)
        return min((network, averaged), key=lambda n: error_rate(n, self.check))


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module) -> None:
    for mean, now in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(now, 1 - AVERAGED)


def _nonzero(network: nn.Module) -> int:
    return sum(int((p != 0).sum()) for p in network.parameters())
