"""Corrections at no bytes: biases and batch norms take up what packing did to a layer's mean.

A layer whose weights moved by E makes, on average, E mu more than before, with mu the mean of its
inputs. Its bias gives that back, or the running mean of the batch norm behind it follows (Nagel et
al. 2019, section 4.2). Both are stored bit for bit anyway, so that no byte is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..wire.arrays import AnyArray
from .record import Calibration
from .sensitivity import Floats


@dataclass(frozen=True, slots=True)
class Correction:
    """What corrects a tensor.

    Attributes
    ----------
    weight : str
        The weights whose change moved a mean.
    sign : int
        1 for a running mean, which follows; -1 for a bias, which makes up for it.
    """

    weight: str
    sign: int

    def apply(self, array: AnyArray, shift: Floats) -> AnyArray:
        """The tensor after its layer's mean has moved by `shift`."""
        return (array.astype(np.float64) + self.sign * shift).astype(array.dtype)


def corrections_of(
    calibration: Calibration, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Correction]:
    """The tensors that can be corrected, of those that a checkpoint has, by name."""
    found = {}
    for name, sensed in calibration.tensors.items():
        moments = calibration.moments.get(sensed.moments or "")
        if name not in shapes or moments is None or moments.mean is None:
            continue
        norm = f"{sensed.norm}.running_mean" if sensed.norm is not None else None
        target, sign = (norm, 1) if norm is not None else (sensed.bias, -1)
        if target is not None and shapes.get(target) == shapes[name][:1]:
            found[target] = Correction(name, sign)
    return found
