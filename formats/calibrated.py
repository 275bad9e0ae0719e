"""What a recipe's calibration says of a checkpoint that is about to be packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from dcz.codec.calibration.record import Calibration, digest
from dcz.codec.correct import Correction, corrections_of
from dcz.codec.errors import InputError, located
from dcz.codec.frame import is_floating
from dcz.codec.metric import Metric, metrics_of, unseen
from dcz.codec.recipe import Recipe
from dcz.formats.calibration_io import read_calibration
from dcz.formats.sources import Sources, find_sources
from dcz.formats.tensors import Checkpoint


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
        tied = set(checkpoint.ties) | set(checkpoint.ties.values())
        changeable = {
            name: info.shape
            for name, info in checkpoint.tensors.items()
            if is_floating(info.dtype) and name not in tied
        }
        shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
        found = corrections_of(calibration, shapes)
        # A tensor of zeros has no size that an error could be told against.
        found = {
            target: correction
            for target, correction in found.items()
            if target in changeable and checkpoint.read(target).any()
        }
        sources = find_sources(checkpoint, recipe, apart=found)
        stored = {source.name: source.shape for source in sources.stored}
        corrections = {target: c for target, c in found.items() if c.weight in stored}
        centred = {correction.weight for correction in corrections.values()}
        floating = {n: s for n, s in stored.items() if is_floating(checkpoint.tensors[n].dtype)}
        return cls(
            sources,
            metrics_of(calibration, stored, centred),
            corrections,
            tuple(unseen(calibration, floating)),
        )


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
