"""What tests of error compensation share."""

from __future__ import annotations

import numpy as np

from dcz.codec.calibration.record import Moments
from dcz.codec.calibration.sensitivity import Factor, Metric


def moments_of(rng: np.random.Generator, width: int, groups: int = 1) -> Moments:
    """Moments of inputs that go together."""
    inputs = rng.normal(size=(groups, 200, width)) @ rng.normal(size=(groups, width, width))
    return Moments.of(np.einsum("gin,gim->gnm", inputs, inputs) / 200, inputs.mean(axis=1))


def factors_of(rng: np.random.Generator, width: int, groups: int = 1) -> tuple[Factor, ...]:
    """The factors of such moments."""
    factors = Metric(np.ones(groups), moments_of(rng, width, groups)).factors
    assert factors is not None
    return factors
