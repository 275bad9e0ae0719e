"""Packing tensors that are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...codec.rate.recipe import Recipe
from ...codec.report.report import Report
from ...codec.wire.arrays import AnyArray
from ..checkpoints.npz import MappingCheckpoint
from ..checkpoints.pytorch.state_dict import StateDictCheckpoint
from ..container.reader import Path
from .pack import pack

if TYPE_CHECKING:
    import torch


def save_file(
    tensors: Mapping[str, AnyArray],
    path: Path,
    recipe: Recipe | None = None,
    *,
    jobs: int | None = None,
    notes: Mapping[str, str] | None = None,
) -> Report:
    """Pack arrays into a `.dcz` file; see `pack`. The arrays are not changed."""
    return pack(MappingCheckpoint(tensors), path, recipe, jobs=jobs, notes=notes)


def save_state_dict(
    state_dict: Mapping[str, torch.Tensor],
    path: Path,
    recipe: Recipe | None = None,
    *,
    jobs: int | None = None,
    notes: Mapping[str, str] | None = None,
) -> Report:
    """Pack a PyTorch state dict into a `.dcz` file; see `pack`. The tensors are not changed.

    Pairs `weight_orig` and `weight_mask` of torch.nn.utils.prune become the pruned weight.
    """
    return pack(StateDictCheckpoint(state_dict), path, recipe, jobs=jobs, notes=notes)
