"""What the recipes `best` and `smaller` train how long, and down to how many weights."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of training on one cosine of the learning rate.

    Attributes
    ----------
    epochs : int
    learning_rate : float
        At its start; a fiftieth of it at its end.
    temperature : float
        Of the distillation.
    augmented : float
        Share of the images that are augmented copies.
    survivors : int or None
        How many weights and biases are left at its end.
    """

    epochs: int
    learning_rate: float
    temperature: float
    augmented: float
    survivors: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Widths to start from, the segments of training, and the freezing at the end.

    `mean_level` is how far weights lie from zero, in steps of their grid.
    """

    widths: tuple[int, ...]
    batch: int
    segments: tuple[Segment, ...]
    freezing: Segment
    mean_level: float


LENET5 = Settings(
    widths=(12, 24, 40),
    batch=128,
    segments=(
        Segment(20, 4e-3, 4.0, 0.5),
        Segment(14, 3e-3, 2.0, 0.3, 6000),
        Segment(14, 3e-3, 2.0, 0.2, 3000),
        Segment(18, 3e-3, 2.0, 0.2, 1850),
        Segment(12, 3e-3, 2.0, 0.2, 1250),
    ),
    freezing=Segment(14, 4e-3, 2.0, 0.2),
    mean_level=2.6,
)
LENET5_SMALLER = replace(
    LENET5,
    segments=(*LENET5.segments, Segment(12, 3e-3, 2.0, 0.2, 1120)),
    freezing=Segment(20, 4e-3, 2.0, 0.2),
    mean_level=1.6,
)
LENET300100 = Settings(
    widths=(100, 40),
    batch=128,
    segments=(
        Segment(50, 4e-3, 3.0, 0.5),
        Segment(30, 3e-3, 2.0, 0.3, 12000),
        Segment(30, 3e-3, 2.0, 0.2, 5000),
        Segment(36, 3e-3, 2.0, 0.2, 3500),
        Segment(50, 3e-3, 2.0, 0.2, 2650),
    ),
    freezing=Segment(36, 4e-3, 2.0, 0.2),
    mean_level=2.7,
)
SETTINGS = {
    "best": {"lenet5": LENET5, "lenet-300-100": LENET300100},
    "smaller": {"lenet5": LENET5_SMALLER},
}
