"""What will be done with a tensor, and what is known of it before it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .calibration.sensitivity import Metric
from .wire.codebook import MAX_LEVELS
from .wire.trellis_states import DEFAULT_STATES


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """What will be done with one tensor.

    Attributes
    ----------
    quantizer : str
        A key of `recipe.QUANTIZERS`; a "lossless" tensor comes back bit for bit.
    coder : str
        One of `recipe.CODERS`.
    cutoff : float
        The smallest magnitude that survives pruning.
    levels : int or None
        K-means: number of shared values besides zero; None to keep the survivors as they are.
    initialisation : str
        K-means: a key of `INITIALISATIONS`.
    states : int
        Trellis: number of states.
    slope : float or None
        Grid and trellis: the squared error that a bit has to save.
    metric : Metric or None
        What errors count for; None for what stays as it is.
    most_error : float
        What an error may count for at most, besides what pruning does.
    outlying : float
        Weights of this magnitude and more are kept exactly.
    """

    quantizer: str
    coder: str = "huffman"
    cutoff: float = 0.0
    levels: int | None = None
    initialisation: str = "best"
    states: int = DEFAULT_STATES
    slope: float | None = None
    metric: Metric | None = None
    most_error: float = math.inf
    outlying: float = math.inf

    @property
    def share(self) -> bool:
        """Whether the tensor's weights may be changed."""
        return self.quantizer != "lossless"

    @property
    def follows_slope(self) -> bool:
        """Whether the model's slope decides its levels."""
        return self.share and self.levels is None

    def finer(self) -> TensorPlan:
        """A plan that leaves less error."""
        if self.slope is not None:
            return replace(self, slope=self.slope / 4)
        if self.levels is None or self.levels >= MAX_LEVELS:
            return replace(self, quantizer="lossless")
        return replace(self, levels=min(2 * self.levels, MAX_LEVELS))


EXACT = TensorPlan("lossless")
