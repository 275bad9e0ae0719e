"""Observing a network at work: what its layers take in, and how its output hangs on each tensor.

Sensitivities are those of the output to each tensor, by random probes: with y the output and r of
random signs, the squared gradient of r y to a weight has the expectation of the squared change of
the output that a unit change of the weight makes (as in Hutchinson 1990, and in the Fisher
information of a Gaussian with mean y). A layer's inputs are summed up by their second moments,
which say how errors of its weights add up or cancel out (Hassibi and Stork 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import InputError
from .layers import Layers
from .record import Calibration, Sensed
from .second_moments import SecondMoments

Floats = npt.NDArray[np.float64]
Output = Callable[[Any], Tensor]
Progress = Callable[[str, int], None]

# What a row of an embedding has of the mean around it, at least.
LEAST_SHARE = 0.1
AROUND = 1000
# A batch's rows of an embedding are summed up in so many parts, which tell how far they differ.
PARTS = 4


def observe(
    model: nn.Module,
    inputs: Iterable[Any],
    *,
    output: Output | None = None,
    probes: int = 1,
    progress: Progress | None = None,
) -> Calibration:
    """Run a model over unlabelled inputs and sum up what packing needs to know.

    The model is in evaluation mode meanwhile. Afterwards it is as it was: its modes, gradients,
    buffers and what requires gradients, also after an exception.

    Takes the memory of one batch's forward and backward pass, one gradient of each parameter, and
    the second moments: for a layer of n inputs (n of a group, for convolutions by groups), and for
    an embedding of n columns, 4 n^2 bytes.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : iterable of Tensor, tuple, list or mapping
        Batches: the model's argument, or its arguments by position or by name.
    output : callable, optional
        Given what the model returns, picks the tensor that counts, float[samples, ...]. By
        default the first tensor in what is returned.
    probes : int
        Random projections of the output for each batch.
    progress : callable, optional
        Called with a text and 1 after each batch.

    Raises
    ------
    InputError
        If there are no inputs, or an output is not finite or does not depend on any tensor.
    """
    signs = torch.Generator().manual_seed(0)
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(keeping_buffers(model))
        stack.enter_context(_asking_for_gradients(model))
        layers = stack.enter_context(Layers(model))
        sums = _Sums(model, layers)
        for number, batch in enumerate(inputs):
            with torch.enable_grad(), layers.watching():
                found = pick(call(model, batch), output)
            sums.add(found, probes, signs, number)
            if progress is not None:
                progress("batch", 1)
        return sums.calibration()


def call(model: nn.Module, batch: Any) -> Any:
    """What a model returns for a batch of arguments."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple | list):
        return model(*batch)
    return model(batch)


def pick(returned: Any, output: Output | None) -> Tensor:
    """The tensor that counts: what `output` picks, or the first one of floating point.

    Raises
    ------
    InputError
        If there is none.
    """
    if output is not None:
        returned = output(returned)
    for found in _tensors(returned):
        if found.is_floating_point():
            return found
    raise InputError("the model returns no floating-point tensor; pick one with output=")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _tensors(item)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; in the end each module's mode is as before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def keeping_buffers(model: nn.Module) -> Iterator[None]:
    """In the end all buffers are as before, for models that change some in evaluation mode."""
    buffers = {buffer: buffer.clone() for buffer in model.buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers.items():
                buffer.copy_(value)


@contextmanager
def _asking_for_gradients(model: nn.Module) -> Iterator[None]:
    """Gradients for all parameters that can have them; in the end as before."""
    asked = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in asked:
            parameter.requires_grad_(parameter.is_floating_point())
        yield
    finally:
        for parameter, wanted in asked.items():
            parameter.requires_grad_(wanted)


class _Sums:
    """Squared gradients of random projections, summed by rows as the batches come."""

    def __init__(self, model: nn.Module, layers: Layers) -> None:
        self.model = model
        self.layers = layers
        self.parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.dim() > 1 and parameter.is_floating_point()
        }
        self.rows = {
            name: torch.zeros(parameter.shape[0], dtype=torch.float64)
            for name, parameter in self.parameters.items()
        }
        # Probes, as many for each batch, in which a row had a part in the output.
        self.batches = {name: torch.zeros_like(rows) for name, rows in self.rows.items()}
        # By identity: one that is tied to a layer may have the layer's name.
        looked_up = {
            id(module.weight)
            for module in model.modules()
            if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        }
        self.directions = {
            name: SecondMoments()
            for name, parameter in self.parameters.items()
            if id(parameter) in looked_up
        }
        self.energy = 0.0
        self.samples = 0
        self.probes = 0

    def add(self, output: Tensor, probes: int, signs: torch.Generator, batch: int) -> None:
        """Probe one batch's output."""
        if not bool(torch.isfinite(output).all()):
            raise InputError(f"the output for batch {batch} is not finite")
        if not output.requires_grad:
            raise InputError("the output does not depend on the model's parameters")
        self.samples += output.shape[0] if output.dim() > 1 else 1
        self.probes = probes
        self.energy += float(output.detach().double().square().sum())
        for number in range(probes):
            random = torch.randint(0, 2, output.shape, generator=signs).to(output) * 2 - 1
            gradients = torch.autograd.grad(
                (output * random).sum(),
                list(self.parameters.values()),
                retain_graph=number + 1 < probes,
                allow_unused=True,
            )
            for name, gradient in zip(self.parameters, gradients, strict=True):
                if gradient is not None:
                    self._add_gradient(name, gradient)

    def _add_gradient(self, name: str, gradient: Tensor) -> None:
        dense = gradient.to_dense() if gradient.is_sparse else gradient
        flat = dense.detach().float().flatten(1)
        rows = flat.square().sum(1)
        if not bool(torch.isfinite(rows).all()):
            raise InputError("the gradients are not finite", tensor=name)
        self.rows[name] += rows.double() / flat.shape[1]
        self.batches[name] += rows > 0
        if name in self.directions:
            used = flat[rows > 0]
            for part in range(PARTS):
                self.directions[name].add([used[part::PARTS][None]])

    def _smoothed(self, name: str) -> Floats:
        """Sums of an embedding's rows, with a share for those that only other inputs will use.

        The rows that a single batch used had as much part in the output as rows that no batch
        used will have in the next one (Good 1953). That share is spread over the rows as those
        around them have it: many vocabularies begin with what is used most. Of other tensors only
        the mean over all rows is told reliably: single channels respond to what happens to be in
        the inputs.
        """
        rows = self.rows[name].numpy()
        if name not in self.directions:
            return np.full(rows.shape, rows.mean())
        once = rows[self.batches[name].numpy() == self.probes].sum() / (rows.sum() or 1.0)
        share = min(once + LEAST_SHARE, 1.0)
        return np.asarray((1 - share) * rows + share * _mean_around(rows))

    def _links(self, name: str, parameter: nn.Parameter) -> dict[str, str]:
        """What belongs to a tensor; to an embedding, the moments of the gradients to its rows."""
        found = self.layers.links(parameter)
        if not found and name in self.directions and self.directions[name].passes:
            return {"moments": name}
        return found

    def calibration(self) -> Calibration:
        """What was found. Raises InputError if there was no input."""
        if self.samples == 0:
            raise InputError("there are no inputs to calibrate with")
        if not self.energy > 0:
            raise InputError("the output is zero for all inputs")
        if not any(rows.any() for rows in self.rows.values()):
            raise InputError("the output depends on no tensor")
        moments = self.layers.moments() | {
            name: replace(sums.moments(), mean=None)
            for name, sums in self.directions.items()
            if sums.passes
        }
        tensors = {}
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            first = next((n for n, p in self.parameters.items() if p is parameter), None)
            if first is not None:
                rows = self._smoothed(first) / (self.samples * self.probes)
                links = self._links(first, parameter)
                array = parameter.detach().float().cpu().numpy()
                tensors[name] = Sensed.of(array, rows.astype(np.float32), **links)
        return Calibration(tensors, moments, self.energy / self.samples, self.samples)


def _mean_around(rows: Floats) -> Floats:
    """The mean of each row and those up to `AROUND` before and after it."""
    sums = np.concatenate([[0.0], np.cumsum(rows)])
    at = np.arange(rows.size)
    start, stop = np.maximum(at - AROUND, 0), np.minimum(at + AROUND + 1, rows.size)
    return np.asarray((sums[stop] - sums[start]) / (stop - start))
