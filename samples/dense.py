"""A dense network in fp32, where every recipe of this folder starts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from loops import Digits, augmented, batches, error_rate, progress, train_epoch
from networks import NETWORKS
from torch import nn


@dataclass(frozen=True, slots=True)
class Settings:
    """How a dense network is trained: Adam with decoupled decay, one cosine down to zero.

    `augmentation` is the strength of `loops.augmented`, 0 for images as they are.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    dropout: float
    input_dropout: float
    augmentation: float = 0.0


SETTINGS = {
    "lenet-300-100": Settings(100, 256, 3e-3, 0.1, 0.3, 0.2),
    "lenet5": Settings(12, 128, 1.5e-3, 0.1, 0.5, 0.0, augmentation=0.7),
}


def train_dense(
    name: str, settings: Settings, seed: int, train: Digits, check: Digits
) -> nn.Module:
    """Train from scratch; the validation split `check` is only looked at."""
    torch.manual_seed(seed)
    network = NETWORKS[name](settings.dropout, settings.input_dropout)
    steps = settings.epochs * -(-len(train) // settings.batch)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(seed)
    with progress(f"{name} dense", settings.epochs) as report:
        for _ in range(settings.epochs):
            data = batches(train, settings.batch, order)
            if settings.augmentation:
                data = (augmented(batch, order, settings.augmentation) for batch in data)
            train_epoch(network, data, optimizer, schedule)
            report(f"validation error {error_rate(network, check):.2%}")
    return network
