"""How much more noise than signal a convolution passes on, told by the batch norm that follows it.

A batch norm keeps the variance that each output channel had over the training set. Noise in the
weights meets the whole energy of the inputs, the square of their means included, which a signal's
variance leaves out: behind rectifiers, in depthwise and in 1x1 convolutions, noise then comes out
tens of times as large against the signal as it went in against the weights. The energy of the
inputs is told by the batch norm before: its outputs are taken for normal with the scale and the
shift that it gives them (Nagel, van Baalen, Blankevoort and Welling 2019, *Data-free quantization
through weight equalization and bias correction*, section 4.2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..weights import TensorSource
from .spread import Floats

# Estimates further from 1 than this say that the assumptions do not hold.
LEAST_GAIN, GREATEST_GAIN = 1 / 4, 64.0
_EPSILON = 1e-3
# Names of variance, scale and shift: PyTorch's, and Keras's.
_STATISTICS = (("running_var", "weight", "bias"), ("moving_variance", "gamma", "beta"))
_KERNEL_AXES = (3, 4, 5)


@dataclass(frozen=True, slots=True)
class _Norm:
    """What a batch norm holds, float64[channels] each."""

    variance: Floats
    scale: Floats
    shift: Floats

    def energy(self) -> Floats:
        """Mean squares of its outputs once they are rectified, within a few percent."""
        scale = np.maximum(np.abs(self.scale), 1e-12)
        above = np.clip(0.5 + self.shift / (3 * scale), 0.0, 1.0)
        return np.asarray(np.square(np.maximum(self.shift, 0.0)) + above * np.square(scale))


def gains_of(tensors: Sequence[TensorSource], energies: Mapping[str, float]) -> dict[str, float]:
    """The gain of each convolution that a batch norm follows.

    Parameters
    ----------
    tensors : sequence of TensorSource
        In the order of the checkpoint, in which layers follow each other.
    energies : mapping from a tensor's name to float
        The energy of the weights of those whose gain is wanted.
    """
    known = {tensor.name: tensor for tensor in tensors}
    before: TensorSource | None = None
    inputs: dict[int, Floats] = {}
    gains: dict[str, float] = {}
    for tensor in tensors:
        if len(tensor.shape) in _KERNEL_AXES:
            before = tensor
        norm = _norm(tensor, known)
        if norm is None:
            continue
        convolution = _convolution(tensor.name, known) or before
        if convolution is None or convolution.shape[:1] != norm.variance.shape:
            continue
        energy = energies.get(convolution.name)
        if energy:
            gains[convolution.name] = _gain(convolution.shape, energy, norm, inputs)
        inputs[norm.variance.size] = norm.energy()
    return gains


def _norm(tensor: TensorSource, known: Mapping[str, TensorSource]) -> _Norm | None:
    """The batch norm whose variance a tensor is."""
    for variance, scale, shift in _STATISTICS:
        prefix = tensor.name.removesuffix(variance)
        parts = [known.get(prefix + name) for name in (variance, scale, shift)]
        if prefix != tensor.name and None not in parts:
            found = [part.read().astype(np.float64) for part in parts if part is not None]
            usable = all(f.shape == tensor.shape and np.isfinite(f).all() for f in found)
            return _Norm(*found) if usable and len(tensor.shape) == 1 else None
    return None


def _convolution(name: str, known: Mapping[str, TensorSource]) -> TensorSource | None:
    """The convolution that a batch norm's name tells: conv1 for bn1, 0 for 1."""
    layer = name.rsplit(".", 1)[0]
    parent, dot, last = layer.rpartition(".")
    if last.isdecimal():
        return known.get(f"{parent}{dot}{int(last) - 1}.weight")
    other = re.sub("batchnorm|norm|bn", "conv", last)
    return known.get(f"{parent}{dot}{other}.weight")


def _gain(
    shape: tuple[int, ...], energy: float, norm: _Norm, inputs: Mapping[int, Floats]
) -> float:
    """The median over channels of noise against signal, for noise of the weights' energy."""
    depthwise = shape[1] == 1 and shape[0] > 1
    channels = shape[0] if depthwise else shape[1]
    met = inputs.get(channels, np.ones(channels))
    taps = math.prod(shape[2:])
    reach = taps * (met if depthwise else math.fsum(met.tolist()))
    noise = energy / math.prod(shape) * reach / (norm.variance + _EPSILON)
    middle = float(np.sort(np.broadcast_to(noise, norm.variance.shape))[norm.variance.size // 2])
    return min(max(middle, LEAST_GAIN), GREATEST_GAIN)
