"""Trained compression for PyTorch: prune, share and repair a network, so that packing it is cheap.

    pruner = dcz.training.Pruner(model, dcz.training.Cubic(0.95, begin=0, end=2000), optimizer)
    ...                                                  # your loop, unchanged
    pruner.finish()
    sharing = dcz.training.share(model, bits=5)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    ...                                                  # your loop again
    dcz.save_state_dict(dcz.training.plain_state_dict(model), "model.dcz")

After Deep Compression (Han, Mao, Dally 2016, sections 2 and 3). PyTorch is imported only here.
"""

from __future__ import annotations

from .freezing import Freezer
from .losses import DistillationLoss, RateLoss
from .masks import Masks, from_torch_prune, masks_of_zeros, to_torch_prune
from .plain import plain_state_dict
from .pruner import Pruner
from .repair import recalibrate
from .schedules import Cubic, Linear, OneShot, Schedule, Steps
from .scores import SCORES, Score
from .sharing import Renewal, SharedWeights, Sharing, share
from .structure import UNITS

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("dcz.training needs PyTorch: pip install dcz[torch]") from None

__all__ = [
    "SCORES",
    "UNITS",
    "Cubic",
    "DistillationLoss",
    "Freezer",
    "Linear",
    "Masks",
    "OneShot",
    "Pruner",
    "RateLoss",
    "Renewal",
    "Schedule",
    "Score",
    "SharedWeights",
    "Sharing",
    "Steps",
    "from_torch_prune",
    "masks_of_zeros",
    "plain_state_dict",
    "recalibrate",
    "share",
    "to_torch_prune",
]
