"""What a masked and a shared step of training cost beside a plain one, on LeNet-5.

python benchmarks/training_steps.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median

import timing
import torch
from torch import nn
from torch.nn import functional

import dcz

TARGET = 1.3
BATCH, ROUNDS = 64, 60


def lenet5() -> nn.Module:
    """Return a LeNet-5 with the paper's widths: 431,080 parameters."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """Return a step of training on random digits."""
    images, labels = torch.rand(BATCH, 784), torch.arange(BATCH) % 10

    def make() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(images), labels))
        optimizer.step()

    return make


def contestants() -> dict[str, Callable[[], object]]:
    """Return steps of each kind, with Adam."""
    plain, masked, shared, renewed = lenet5(), lenet5(), lenet5(), lenet5()
    made = {"plain": step(plain, torch.optim.Adam(plain.parameters()))}
    optimizer = torch.optim.Adam(masked.parameters())
    dcz.training.Pruner(masked, dcz.training.OneShot(0.9), optimizer)
    made["masked"] = step(masked, optimizer)
    for name, model in (("shared", shared), ("shared, renewable", renewed)):
        dcz.training.Pruner(model, dcz.training.OneShot(0.9)).finish()
        renewal = dcz.training.Renewal(50, 10**6) if model is renewed else None
        sharing = dcz.training.share(model, bits=5, renewal=renewal)
        optimizer = torch.optim.Adam(model.parameters())
        optimizer.register_step_post_hook(sharing.step)
        made[name] = step(model, optimizer)
    return made


def main() -> int:
    """Print the table; return 1 when the target was missed."""
    torch.set_num_threads(1)
    timing.run_on_one_core()
    seconds = timing.samples(contestants(), ROUNDS)
    plain = seconds["plain"]
    worst = 0.0
    for name, taken in seconds.items():
        ratio, least = median(taken) / median(plain), min(taken) / min(plain)
        worst = max(worst, ratio)
        print(f"{name:<18}{1e3 * median(taken):8.2f} ms  {ratio:.2f}x, of least times {least:.2f}x")
    return int(worst > TARGET)


if __name__ == "__main__":
    sys.exit(main())
