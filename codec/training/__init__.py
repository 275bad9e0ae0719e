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

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("dcz.training needs PyTorch: pip install dcz[torch]") from None

from dcz.training.distillation import DistillationLoss
from dcz.training.freezing import Freezer
from dcz.training.masks import Masks, from_torch_prune, masks_of_zeros, to_torch_prune
from dcz.training.plain import plain_state_dict
from dcz.training.pruner import Pruner
from dcz.training.rate import RateLoss
from dcz.training.repair import recalibrate
from dcz.training.schedules import Cubic, Linear, OneShot, Schedule, Steps
from dcz.training.scores import SCORES, Score
from dcz.training.sharing import Renewal, SharedWeights, Sharing, share
from dcz.training.structure import UNITS

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
