"""What a recipe's calibration says of a checkpoint that is about to be packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from ...codec.calibration.bias_correction import Correction, corrections_of
from ...codec.calibration.record import Calibration, digest
from ...codec.calibration.sensitivity import Metric, metrics_of, unseen
from ...codec.errors import InputError, located
from ...codec.rate.recipe import Recipe
from ...codec.wire.arrays import AnyArray, is_floating
from ..checkpoints.base import Checkpoint
from .calibration_io import read_calibration
from .sources import Sources, find_sources


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A checkpoint's tensors, with what is known of them if the recipe has a calibration.

    Attributes
    ----------
    sources : Sources
    metrics : mapping from a tensor's name to Metric, or None without a calibration
    corrections : mapping from a tensor's name to Correction
        Tensors that make up for what is done to others.
    unseen : tuple of str
        Matrices that calibration knows nothing of.
    """

    sources: Sources
    metrics: Mapping[str, Metric] | None = None
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, checkpoint: Checkpoint) -> Self:
        """Look the tensors up.

        Raises
        ------
        InputError
            If the calibration cannot be read, or is one of other weights.
        """
        if recipe.calibration is None:
            return cls(find_sources(checkpoint, recipe))
        calibration, file = recipe.calibration, None
        if not isinstance(calibration, Calibration):
            file = str(calibration)
            calibration = read_calibration(calibration)
        with located(file=file):
            calibration = _renamed(calibration, checkpoint)
            repaired = _repaired(calibration, checkpoint)
        found = _correctable(calibration, checkpoint)
        sources = find_sources(checkpoint, recipe, apart={*found, *repaired}).giving(repaired)
        stored = {source.name: source.shape for source in sources.stored}
        corrections = {target: c for target, c in found.items() if c.weight in stored}
        centred = {correction.weight for correction in corrections.values()}
        floating = {n: s for n, s in stored.items() if is_floating(checkpoint.tensors[n].dtype)}
        return cls(
            sources,
            metrics_of(calibration, stored, centred),
            {target: c for target, c in corrections.items() if target not in repaired},
            tuple(unseen(calibration, floating)),
        )


def _correctable(calibration: Calibration, checkpoint: Checkpoint) -> dict[str, Correction]:
    """The corrections that can be made: not of tensors that are tied to others."""
    tied = set(checkpoint.ties) | set(checkpoint.ties.values())
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    return {
        target: correction
        for target, correction in corrections_of(calibration, shapes).items()
        if target not in tied
        and is_floating(checkpoint.tensors[target].dtype)
        # A tensor of zeros has no size that an error could be told against.
        and checkpoint.read(target).any()
    }


def _repaired(calibration: Calibration, checkpoint: Checkpoint) -> Mapping[str, AnyArray]:
    """What is to be stored in place of the checkpoint's tensors.

    Raises
    ------
    InputError
        If one does not fit.
    """
    for name, array in calibration.repaired.items():
        info = checkpoint.tensors.get(name)
        if info is None or (info.shape, info.dtype) != (array.shape, array.dtype):
            raise InputError("calibration repaired it, the checkpoint has no such", tensor=name)
        if not np.isfinite(array).all():
            raise InputError("its repaired values are not finite", tensor=name)
    return calibration.repaired


def _renamed(calibration: Calibration, checkpoint: Checkpoint) -> Calibration:
    """The calibration by the checkpoint's names, after its tensors were compared.

    Raises
    ------
    InputError
        If a tensor is missing, or is not the one that was calibrated.
    """
    known = {}
    present = set()
    for name, info in checkpoint.tensors.items():
        sensed = calibration.tensors.get(name)
        if sensed is None:
            continue
        with located(tensor=name):
            if sensed.shape != info.shape:
                raise InputError(f"calibration knows it as {sensed.shape}, not {info.shape}")
            found = digest(checkpoint.read(name))
            if found != sensed.digest:
                raise InputError("calibration was made with other weights")
        present.add(found)
        known[name] = sensed
    for name, sensed in calibration.tensors.items():
        if name not in known and sensed.digest not in present:
            raise InputError("calibration knows it, the checkpoint does not", tensor=name)
    return replace(calibration, tensors=known)
