"""What the recipes have in common: batches, epochs, errors, and a bar that shows them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mnist
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[nn.Module, "Digits"], Tensor]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Digits:
    """Images float32 (n, 784), labels int64 (n,), and the teacher's logits (n, 10) or None."""

    images: Tensor
    labels: Tensor
    logits: Tensor | None = None

    def __getitem__(self, chosen: Tensor | slice) -> Digits:
        logits = None if self.logits is None else self.logits[chosen]
        return Digits(self.images[chosen], self.labels[chosen], logits)

    def __len__(self) -> int:
        return len(self.labels)


def as_digits(split: mnist.Split) -> Digits:
    """Return the split's arrays as tensors, without a copy where that is possible."""
    return Digits(torch.from_numpy(split.images), torch.from_numpy(split.labels))


def run_on_one_core() -> None:
    """Make a seed give the same network on every run of one machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def batches(digits: Digits, size: int, generator: torch.Generator) -> Iterator[Digits]:
    """Yield the split once in random order, in batches of `size` but perhaps the last."""
    order = torch.randperm(len(digits), generator=generator)
    for start in range(0, len(order), size):
        yield digits[order[start : start + size]]


def augmented(digits: Digits, generator: torch.Generator, strength: float = 1.0) -> Digits:
    """Turn, scale, shear and shift each image a little at random; logits no longer fit and go.

    At strength 1: by up to 12 degrees, a tenth, an eighth, and two pixels.
    """
    count = len(digits)

    def drawn(most: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * (most * strength)

    angle, shear = drawn(math.radians(12)), drawn(0.12)
    across, down = 1 + drawn(0.1), 1 + drawn(0.1)
    first = torch.stack([angle.cos() * across, shear - angle.sin() * down, drawn(1 / 7)], 1)
    second = torch.stack([angle.sin() * across, angle.cos() * down, drawn(1 / 7)], 1)
    shape = [count, 1, 28, 28]
    grid = functional.affine_grid(torch.stack([first, second], 1), shape, align_corners=False)
    moved = functional.grid_sample(digits.images.view(shape), grid, align_corners=False)
    return Digits(moved.reshape(count, 784), digits.labels)


def cross_entropy(network: nn.Module, batch: Digits) -> Tensor:
    """Mean cross-entropy of a batch."""
    return functional.cross_entropy(network(batch.images), batch.labels)


def train_epoch(
    network: nn.Module,
    data: Iterator[Digits],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss: Loss = cross_entropy,
) -> None:
    """Make one pass over the batches, a step of optimizer and schedule for each."""
    network.train()
    for batch in data:
        optimizer.zero_grad()
        torch.autograd.backward(loss(network, batch))
        optimizer.step()
        schedule.step()


@torch.no_grad()
def error_rate(network: nn.Module, digits: Digits) -> float:
    """Return the fraction of digits that the network gets wrong."""
    network.eval()
    wrong = 0
    for start in range(0, len(digits), 1000):
        part = digits[slice(start, start + 1000)]
        wrong += int((network(part.images).argmax(1) != part.labels).sum())
    return wrong / len(digits)


@contextmanager
def progress(text: str, epochs: int) -> Iterator[Report]:
    """Show a bar of `epochs` steps; each call of what is yielded is one, with a remark."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    started = time.process_time()
    last = ""
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(text, total=epochs)

        def report(remark: str) -> None:
            nonlocal last
            last = remark
            bar.update(task, advance=1, description=f"{text}: {remark}")

        yield report
    print(f"{text}: {last}, {time.process_time() - started:.0f} s of processor time", flush=True)
