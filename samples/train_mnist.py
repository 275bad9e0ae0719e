"""Train a network of `networks.py` on MNIST, dense and in fp32, on one core.

    python samples/train_mnist.py lenet-300-100
    python samples/train_mnist.py lenet5

Settings were chosen by the validation split; a run looks at the test split once, at its end.
The result is `samples/NETWORK.safetensors`, with its test error, seed and command inside.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mnist
import torch
from networks import NETWORKS
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Settings:
    """How a dense network is trained: Adam with decoupled decay, one cosine down to zero."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    dropout: float
    input_dropout: float


SETTINGS = {
    "lenet-300-100": Settings(100, 256, 3e-3, 0.1, 0.3, 0.2),
    "lenet5": Settings(20, 128, 1.5e-3, 0.1, 0.5, 0.0),
}


@dataclass(frozen=True, slots=True)
class Digits:
    """A split as tensors: images float32 (n, 784), labels int64 (n,)."""

    images: Tensor
    labels: Tensor


def as_digits(split: mnist.Split) -> Digits:
    """Return the split's arrays as tensors, without a copy where that is possible."""
    return Digits(torch.from_numpy(split.images), torch.from_numpy(split.labels))


def batches(digits: Digits, size: int, generator: torch.Generator) -> Iterator[Digits]:
    """Yield the split once in random order, in batches of `size` but perhaps the last."""
    order = torch.randperm(len(digits.labels), generator=generator)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield Digits(digits.images[chosen], digits.labels[chosen])


def train_epoch(
    network: nn.Module,
    data: Iterator[Digits],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Make one pass over the batches, a step of optimizer and schedule for each."""
    network.train()
    for batch in data:
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(network(batch.images), batch.labels))
        optimizer.step()
        schedule.step()


@torch.no_grad()
def error_rate(network: nn.Module, digits: Digits) -> float:
    """Return the fraction of digits that the network gets wrong."""
    network.eval()
    wrong = 0
    for start in range(0, len(digits.labels), 1000):
        part = slice(start, start + 1000)
        wrong += int((network(digits.images[part]).argmax(1) != digits.labels[part]).sum())
    return wrong / len(digits.labels)


def train_dense(
    name: str, settings: Settings, seed: int, train: Digits, check: Digits
) -> nn.Module:
    """Train from scratch, with a progress bar that shows the validation error."""
    torch.manual_seed(seed)
    network = NETWORKS[name](settings.dropout, settings.input_dropout)
    steps = settings.epochs * -(-len(train.labels) // settings.batch)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(seed)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(name, total=settings.epochs)
        for _ in range(settings.epochs):
            train_epoch(network, batches(train, settings.batch, order), optimizer, schedule)
            error = error_rate(network, check)
            progress.update(task, advance=1, description=f"{name} validation error {error:.2%}")
    return network


def save(network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write the state dict so that `path` is never seen half written."""
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_bytes(to_safetensors(state, metadata))
        os.replace(unfinished, path)


def run_on_one_core() -> None:
    """Make a seed give the same network on every run of one machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a dense fp32 network on MNIST.")
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="instead of the settings' own number")
    parser.add_argument("-o", "--output", type=Path, help="default: beside this script")
    return parser.parse_args(arguments)


def main() -> None:
    """Train, look at the test split once, save."""
    options = parse()
    run_on_one_core()
    settings = SETTINGS[options.network]
    if options.epochs is not None:
        settings = replace(settings, epochs=options.epochs)
    data = mnist.load()
    train, check = as_digits(data.train), as_digits(data.validation)
    network = train_dense(options.network, settings, options.seed, train, check)
    validation_error = error_rate(network, check)
    test_error = error_rate(network, as_digits(data.test))
    output = options.output or Path(__file__).with_name(f"{options.network}.safetensors")
    command = f"python samples/train_mnist.py {options.network} --seed {options.seed}"
    if options.epochs is not None:
        command += f" --epochs {options.epochs}"
    note = {"test_error": f"{test_error:.4f}", "seed": str(options.seed), "command": command}
    save(network, output, note)
    print(f"{output}: validation error {validation_error:.2%}, test error {test_error:.2%}")


if __name__ == "__main__":
    main()
