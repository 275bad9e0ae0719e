"""Calibration as a user calls it: a PyTorch model and unlabelled inputs, and what comes of them.

    dcz.calibration.collect(model, inputs, "model.cal.safetensors")
    dcz.pack("model.safetensors", "model.dcz", dcz.Recipe(
        preset="balanced", calibration="model.cal.safetensors", max_error=2e-2))

PyTorch is imported by what runs a model, and not by what reads a calibration.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...codec.calibration.record import Calibration
from ...codec.rate.recipe import Recipe
from ...codec.report.report import Report
from ...codec.wire.arrays import AnyArray
from ..checkpoints.pytorch.load import load_state_dict
from ..checkpoints.pytorch.state_dict import StateDictCheckpoint
from ..checkpoints.pytorch.tensors import require_torch
from ..terminal import Progress
from .calibration_io import read_calibration, write_calibration

if TYPE_CHECKING:
    import torch

    from ...codec.calibration.fidelity import Fidelity

__all__ = [
    "Calibration",
    "collect",
    "fidelity",
    "pack_model",
    "random_inputs",
    "read_calibration",
    "write_calibration",
]

Path = str | os.PathLike[str]
Output = Callable[[Any], "torch.Tensor"]


def collect(
    model: torch.nn.Module,
    inputs: Iterable[Any],
    dest: Path | None = None,
    *,
    output: Output | None = None,
    probes: int = 1,
) -> Calibration:
    """Run a model over unlabelled inputs and save what packing needs to know of it.

    The model is run in evaluation mode and left as it was. Progress is shown on a terminal.
    `dcz.codec.calibration.observe` says what is measured and what memory it takes.

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters' names are those of the checkpoint that will be packed.
    inputs : iterable
        Batches: tensors, or tuples or dicts of the model's arguments.
    dest : path, optional
        The safetensors file to write.
    output : callable, optional
        Picks the tensor that counts, float[samples, ...], from what the model returns.
    probes : int
        Random projections of the output for each batch: more of them, less noise, more time.

    Raises
    ------
    InputError
        If nothing can be learned: no inputs, or outputs that are not finite.
    UnsupportedError
        If PyTorch is not installed.
    OSError
        If the file cannot be written.
    """
    require_torch()
    from ...codec.calibration.observe import observe

    total = len(inputs) if isinstance(inputs, Sized) else None
    with Progress("calibrating", total) as progress:
        found = observe(model, inputs, output=output, probes=probes, progress=progress)
    if dest is not None:
        write_calibration(found, dest)
    return found


def random_inputs(example: Any, count: int = 32, *, seed: int = 0) -> list[Any]:
    """Inputs without data: random ones in the likeness of an example.

    Floating-point tensors become Gaussian noise of the same mean and variance, integers are drawn
    from the range that the example spans, and booleans stay as they are. They tell how sensitive
    the output is to each tensor, and so where bits are needed; see `collect`.

    Parameters
    ----------
    example : Tensor, tuple, list or mapping
        A batch, for which the model can be called.
    count : int
        Number of batches.
    seed : int
    """
    require_torch()
    from ...codec.calibration.inputs import alike

    return alike(example, count, seed)


def fidelity(
    original: torch.nn.Module,
    packed: torch.nn.Module,
    inputs: Iterable[Any],
    *,
    output: Output | None = None,
) -> Fidelity:
    """How near a packed model's outputs are to the original's.

    Both models are run in evaluation mode and left as they were.

    Raises
    ------
    InputError
        If there are no inputs.
    UnsupportedError
        If PyTorch is not installed.
    """
    require_torch()
    from ...codec.calibration.fidelity import compare

    return compare(original, packed, inputs, output)


def pack_model(
    model: torch.nn.Module,
    inputs: Iterable[Any],
    dest: Path,
    recipe: Recipe | None = None,
    *,
    output: Output | None = None,
    jobs: int | None = None,
) -> Report:
    """Calibrate a model, pack it, and repair what the packed one still does otherwise.

    Where the inputs can be joined to one batch, the packed network is run beside the original:
    its biases and the moments of its batch norms are corrected in the order of the layers, see
    `dcz.training.recalibrate`, and stored in place of the original's. That takes the memory of
    one forward pass over all inputs.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : iterable
        Batches, as `collect` takes them.
    dest : path
        The `.dcz` file to write.
    recipe : Recipe, optional
        By default the preset ``balanced``, within a relative error of the output of 1e-3. With a
        calibration of its own nothing is measured anew.
    output : callable, optional
        Picks the tensor that counts.
    jobs : int, optional
        Threads; as many as there are cores by default.
    """
    from .pack import pack

    batches = list(inputs)
    recipe = recipe or Recipe(preset="balanced")
    found = _given(recipe) or collect(model, batches, output=output)
    chosen = replace(recipe, calibration=found)
    checkpoint = StateDictCheckpoint(model.state_dict())
    report = pack(checkpoint, dest, chosen, jobs=jobs)
    repaired = _repaired(model, dest, found, batches)
    if not repaired:
        return report
    chosen = replace(chosen, calibration=replace(found, repaired=repaired))
    return pack(checkpoint, dest, chosen, jobs=jobs)


def _given(recipe: Recipe) -> Calibration | None:
    given = recipe.calibration
    return given if given is None or isinstance(given, Calibration) else read_calibration(given)


def _repaired(
    model: torch.nn.Module, path: Path, found: Calibration, batches: list[Any]
) -> dict[str, AnyArray]:
    """The tensors that repair of the packed model changes; none without a single batch."""
    from ...codec.calibration.inputs import joined
    from ...codec.training.repair import recalibrate

    together = joined(batches)
    if together is None:
        return {}
    packed = copy.deepcopy(model)
    # The file's own corrections are estimates of what is measured here: only weights are taken.
    weights = load_state_dict(path)
    packed.load_state_dict({name: weights[name] for name in found.tensors}, strict=False)
    recalibrate(model, packed, together)
    before, after = (
        StateDictCheckpoint(model.state_dict()),
        StateDictCheckpoint(packed.state_dict()),
    )
    return {
        name: after.read(name)
        for name in before.tensors
        if name not in found.tensors and not np.array_equal(before.read(name), after.read(name))
    }
