"""What calibration found out about a network, as arrays: no PyTorch here, and no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from ..errors import InputError

Floats = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Second moments of a layer's inputs, one matrix for each group of its channels.

    For an embedding, those of the output's gradients to its rows.

    Attributes
    ----------
    scale : float32[groups, n]
        Root of the mean square of each input.
    correlation : float16[groups, n (n + 1) / 2]
        Upper triangles of the moments over the scales.
    mean : float32[groups, n] or None
        Of each input, if the layer's output may be shifted by a constant.
    """

    scale: npt.NDArray[np.float32]
    correlation: npt.NDArray[np.float16]
    mean: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, squares: AnyArray, mean: AnyArray | None) -> Moments:
        """From float[groups, n, n] and float[groups, n]."""
        scale = np.sqrt(np.maximum(np.diagonal(squares, axis1=1, axis2=2), 0)).astype(np.float32)
        safe = np.where(scale > 0, scale, 1)
        upper = np.triu_indices(scale.shape[1])
        parts = [
            (square / np.outer(root, root))[upper].astype(np.float16)
            for square, root in zip(squares, safe, strict=True)
        ]
        return cls(scale, np.array(parts), None if mean is None else mean.astype(np.float32))

    def second(self) -> Floats:
        """The moments: float64[groups, n, n]."""
        groups, n = self.scale.shape
        full = np.zeros((groups, n, n))
        rows, columns = np.triu_indices(n)
        full[:, rows, columns] = self.correlation
        full[:, columns, rows] = self.correlation
        scale = self.scale.astype(np.float64)
        full *= scale[:, :, None] * scale[:, None, :]
        return full

    def covariance(self) -> Floats:
        """The moments about the mean, which is known: float64[groups, n, n]."""
        assert self.mean is not None
        mean = self.mean.astype(np.float64)
        full = self.second()
        full -= mean[:, :, None] * mean[:, None, :]
        return full

    def check(self) -> None:
        """Raise InputError for moments that no inputs have."""
        groups, n = self.scale.shape if self.scale.ndim == 2 else (0, 0)
        if self.correlation.shape != (groups, n * (n + 1) // 2) or not groups:
            raise InputError(f"moments of shape {self.correlation.shape} for {groups} x {n} inputs")
        if self.mean is not None and self.mean.shape != self.scale.shape:
            raise InputError(f"means of shape {self.mean.shape} for {groups} x {n} inputs")
        for array in (self.scale, self.correlation, self.mean):
            if array is not None and not np.isfinite(array).all():
                raise InputError("the moments are not finite")


@dataclass(frozen=True, slots=True, eq=False)
class Sensed:
    """What is known of one tensor.

    Attributes
    ----------
    digest : int
        Of its elements as float32.
    shape : tuple of int
    rows : float32[first dimension]
        Squared change of the output that a unit change of one weight of a row makes, on average.
    moments : str or None
        The moments of what is multiplied with its rows, or of the gradients to them.
    bias, norm : str or None
        The bias that is added to what it makes; the batch norm that follows, if there is no bias.
    """

    digest: int
    shape: tuple[int, ...]
    rows: npt.NDArray[np.float32]
    moments: str | None = None
    bias: str | None = None
    norm: str | None = None

    @classmethod
    def of(cls, array: AnyArray, rows: npt.NDArray[np.float32], **links: str) -> Sensed:
        """From the tensor's elements."""
        return cls(digest(array), array.shape, rows, **links)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What is known of a network.

    Attributes
    ----------
    tensors : mapping from a tensor's name to Sensed
        Parameters of two or more dimensions.
    moments : mapping from a name to Moments
        That of the first layer with these inputs, or of an embedding.
    energy : float
        Mean over the samples of the output's sum of squares.
    samples : int
    repaired : mapping from a tensor's name to array
        What to store in place of the checkpoint's own biases and moments of batch norms, which
        then is not corrected further.
    """

    tensors: Mapping[str, Sensed]
    moments: Mapping[str, Moments]
    energy: float
    samples: int
    repaired: Mapping[str, AnyArray] = field(default_factory=dict)


def digest(array: AnyArray) -> int:
    """XXH3-64 of a tensor's elements as float32, so that its dtype does not matter."""
    flat = np.ascontiguousarray(array.reshape(-1), np.float32)
    return xxhash.xxh3_64_intdigest(flat.view(np.uint8).data)
