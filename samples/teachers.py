"""Two convolutional teachers with batch norms, and what they say of every image, stored once.

Their logits stand beside the images as they are and beside some augmented copies of them, in the
folder that `mnist.cache_folder` names; later runs read them.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import mnist
import numpy as np
import torch
from loops import Digits, augmented, batches, error_rate, progress, train_epoch
from networks import ChannelsLast
from torch import Tensor, nn

SEEDS = (1, 2)
EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 8, 128, 0.15, 5e-4
WIDTHS = (24, 48, 96)
COPIES = 12
STUDENT_AUGMENTATION = 0.8


@dataclass(frozen=True, slots=True)
class Lessons:
    """Images with the teachers' mean logits: as they are, and augmented copies of all of them.

    Attributes
    ----------
    plain : Digits
    copies : uint8 (copies, n, 784)
        Grey values.
    copy_logits : float16 (copies, n, 10)
    """

    plain: Digits
    copies: Tensor
    copy_logits: Tensor

    def epoch(self, augmented_share: float, generator: torch.Generator) -> Digits:
        """All images once, that share of them augmented, each by a copy drawn at random."""
        count = len(self.plain)
        chosen = torch.rand(count, generator=generator) < augmented_share
        places = chosen.nonzero().squeeze(1)
        copy = torch.randint(len(self.copies), (len(places),), generator=generator)
        images, logits = self.plain.images.clone(), self.plain.logits
        assert logits is not None
        logits = logits.clone()
        images[places] = self.copies[copy, places].float() / 256
        logits[places] = self.copy_logits[copy, places].float()
        return Digits(images, self.plain.labels, logits)


class Teacher(nn.Module):
    """Four convolutions with batch norms, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        few, some, many = WIDTHS
        self.layers = nn.Sequential(
            *_block(1, few, 5, 0),
            nn.MaxPool2d(2),
            *_block(few, some, 3, 1),
            nn.MaxPool2d(2),
            *_block(some, many, 3, 1),
            *_block(many, many, 3, 0),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(many * 16, 10),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits (n, 10) of images (n, 784)."""
        logits: Tensor = self.layers(pixels.reshape(-1, 28, 28, 1).permute(0, 3, 1, 2))
        return logits


def _block(inputs: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    convolution = ChannelsLast(inputs, outputs, kernel, padding=padding, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def lessons(train: Digits, check: Digits) -> Lessons:
    """Return what the teachers say, after training them where it is not stored."""
    path = mnist.cache_folder() / f"lessons-{_version()}.npz"
    if not path.exists():
        _store(_teach(train, check), path)
    with np.load(path) as stored:
        logits, copies, copy_logits = (torch.from_numpy(stored[k]) for k in ("l", "c", "cl"))
    return Lessons(Digits(train.images, train.labels, logits.float()), copies, copy_logits)


def _version() -> str:
    """What changes whenever this module or the augmentation does."""
    folder = Path(__file__).parent
    text = b"".join((folder / name).read_bytes() for name in ("teachers.py", "loops.py"))
    return hashlib.sha256(text).hexdigest()[:12]


def _store(lessons: Lessons, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    assert lessons.plain.logits is not None
    np.savez(
        unfinished,
        l=lessons.plain.logits.numpy(),
        c=lessons.copies.numpy(),
        cl=lessons.copy_logits.numpy(),
    )
    os.replace(unfinished, path)


def _teach(train: Digits, check: Digits) -> Lessons:
    networks = [_train(seed, train, check) for seed in SEEDS]
    generator = torch.Generator().manual_seed(SEEDS[0])
    logits = _mean_logits(networks, train.images)
    copies = torch.empty(COPIES, *train.images.shape, dtype=torch.uint8)
    copy_logits = torch.empty(COPIES, len(train), 10, dtype=torch.float16)
    with progress("teachers' logits", COPIES) as report:
        for number in range(COPIES):
            images = augmented(train, generator, STUDENT_AUGMENTATION).images
            copies[number] = (images * 256).round().clamp(0, 255).to(torch.uint8)
            copy_logits[number] = _mean_logits(networks, copies[number].float() / 256)
            report(f"copy {number + 1} of {COPIES}")
    return Lessons(Digits(train.images, train.labels, logits), copies, copy_logits)


@torch.no_grad()
def _mean_logits(networks: list[Teacher], images: Tensor) -> Tensor:
    for network in networks:
        network.eval()
    parts = [sum(network(part) for network in networks) for part in torch.split(images, 1000)]
    return torch.cat(parts) / len(networks)


def _train(seed: int, train: Digits, check: Digits) -> Teacher:
    torch.manual_seed(seed)
    network = Teacher()
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        network.parameters(), LEARNING_RATE, 0.9, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    steps = EPOCHS * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.2
    )
    with progress(f"teacher {seed}", EPOCHS) as report:
        for _ in range(EPOCHS):
            data = (augmented(batch, order) for batch in batches(train, BATCH, order))
            train_epoch(network, data, optimizer, schedule)
            report(f"validation error {error_rate(network, check):.2%}")
    return network
