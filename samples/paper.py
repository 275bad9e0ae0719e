"""The paper's recipe: prune, retrain the survivors, share, retrain the centroids, Huffman codes.

Deep Compression (Han, Mao and Dally 2016). Learning rates fall along a cosine in each stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from loops import Digits, augmented, batches, error_rate, progress, train_epoch
from torch import nn

import dcz


@dataclass(frozen=True, slots=True)
class Settings:
    """The two stages of training after the dense one.

    Attributes
    ----------
    sparsity : float
        Share of the weights that are pruned, over all layers by the score `score`.
    ramp, rest : int
        Epochs of pruning on a cubic schedule, and of retraining after it.
    bits : dict from a pattern of names to int
        Index bits of the codebooks.
    shared : int
        Epochs of training the centroids.
    dropout : float
        In the retraining; less than before, since the network is smaller (Han et al. 2015).
    """

    sparsity: float
    ramp: int
    rest: int
    bits: dict[str, int]
    shared: int
    batch: int
    learning_rate: float
    shared_learning_rate: float
    dropout: float
    augmentation: float
    score: str = "lamp"


SETTINGS = {
    "lenet-300-100": Settings(0.92, 20, 30, {"*": 4}, 12, 256, 1.5e-3, 2e-4, 0.1, 0.4),
    "lenet5": Settings(0.96, 6, 7, {"*": 4}, 3, 128, 1e-3, 1e-4, 0.2, 0.5),
}


def compress(name: str, network: nn.Module, seed: int, train: Digits, check: Digits) -> nn.Module:
    """Prune and share a dense network; the validation split `check` is only looked at."""
    settings = SETTINGS[name]
    trainer = Trainer(name, settings, train, check, torch.Generator().manual_seed(seed))
    network.dropout, network.input_dropout = settings.dropout, 0.0  # type: ignore[assignment]
    trainer.prune(network)
    trainer.share(network)
    return network


@dataclass(frozen=True, slots=True)
class Trainer:
    """What the stages of a training have in common."""

    name: str
    settings: Settings
    train: Digits
    check: Digits
    order: torch.Generator

    def prune(self, network: nn.Module) -> None:
        """Prune while training, then retrain what is left."""
        settings, steps = self.settings, self._steps()
        epochs = settings.ramp + settings.rest
        optimizer = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=0.01
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
        ramp = dcz.training.Cubic(settings.sparsity, 0, settings.ramp * steps, every=100)
        pruner = dcz.training.Pruner(network, ramp, optimizer, score=settings.score)
        with progress(f"{self.name} pruning", epochs) as report:
            for _ in range(epochs):
                train_epoch(network, self._data(), optimizer, schedule)
                error = error_rate(network, self.check)
                report(f"{pruner.sparsity:.1%} pruned, validation error {error:.2%}")
        pruner.finish()

    def share(self, network: nn.Module) -> None:
        """Give each layer its codebook, and train the values in it."""
        settings = self.settings
        for pattern, bits in settings.bits.items():
            dcz.training.share(network, bits=bits, select=pattern)
        optimizer = torch.optim.Adam(network.parameters(), settings.shared_learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, settings.shared * self._steps()
        )
        with progress(f"{self.name} sharing", settings.shared) as report:
            for _ in range(settings.shared):
                train_epoch(network, self._data(), optimizer, schedule)
                report(f"validation error {error_rate(network, self.check):.2%}")

    def _steps(self) -> int:
        return -(-len(self.train) // self.settings.batch)

    def _data(self) -> Iterator[Digits]:
        data = batches(self.train, self.settings.batch, self.order)
        if not self.settings.augmentation:
            return data
        return (augmented(batch, self.order, self.settings.augmentation) for batch in data)
