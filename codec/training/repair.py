"""Label-free repair: undo what packing did to the means and variances inside a network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..calibration.observe import call, evaluating

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# A channel that packing all but silenced, or woke, is not scaled without bound.
_LEAST_RATIO, _GREATEST_RATIO = 1 / 16, 16.0

# Mean and variance of each channel over a batch, float64[channels].
_Moments = tuple[Tensor, Tensor]
_Hook = Callable[[str, nn.Module, Tensor], Tensor | None]


@torch.no_grad()
def recalibrate(original: nn.Module, packed: nn.Module, inputs: Any) -> nn.Module:
    """Correct a packed network's batch-norm moments and biases from unlabelled inputs.

    Both networks see the inputs once in evaluation mode, layer by layer: what packing changed in
    the mean and the variance of a batch-norm layer's input is added to its running mean and
    multiplied into its running variance, so that its output has the moments it had; the biases of
    other layers take the change of their outputs' means. Later layers see earlier ones repaired.
    A network that packing left as it was stays exactly so. Plain re-estimation, in contrast,
    replaces moments of a whole training set by those of a few inputs.

    After bias correction (Nagel et al. 2019, *Data-free quantization*, section 4.2).

    Parameters
    ----------
    original : Module
        With the weights before packing.
    packed : Module
        The same modules under the same names, with the weights after it; changed in place.
    inputs : Tensor, tuple, list or mapping
        Some hundred inputs as one batch: the networks' argument, or their arguments by position or
        by name.

    Returns
    -------
    Module
        `packed`.

    Raises
    ------
    ValueError
        If the networks' modules differ, or a value is not finite.
    """
    layers = _repairable(original), _repairable(packed)
    if layers[0].keys() != layers[1].keys():
        raise ValueError("the networks do not have the same layers")
    seen: dict[str, list[_Moments]] = {name: [] for name in layers[0]}

    def record(name: str, module: nn.Module, values: Tensor) -> None:
        seen[name].append(_moments(module, values))

    def correct(name: str, module: nn.Module, values: Tensor) -> Tensor | None:
        # What runs more than once has no single moments.
        return _correct(module, values, seen[name][0]) if len(seen[name]) == 1 else None

    _watch(original, layers[0], inputs, record)
    _watch(packed, layers[1], inputs, correct)
    return packed


def _repairable(model: nn.Module) -> dict[str, nn.Module]:
    """Batch norms with running moments, and linear layers and convolutions with a bias."""
    return {
        name: module
        for name, module in model.named_modules()
        if (isinstance(module, _NORMS) and module.running_mean is not None)
        or (isinstance(module, _LINEAR) and module.bias is not None)
    }


def _watch(model: nn.Module, layers: dict[str, nn.Module], inputs: Any, hook: _Hook) -> None:
    """Run the model in evaluation mode, where `hook` sees what enters norms and leaves others."""
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        for name, module in layers.items():
            stack.callback(_attach(name, module, hook).remove)
        call(model, inputs)


def _attach(name: str, module: nn.Module, hook: _Hook) -> Any:
    if isinstance(module, _NORMS):
        return module.register_forward_pre_hook(lambda m, given: hook(name, m, given[0]))
    return module.register_forward_hook(lambda m, given, out: hook(name, m, out))


def _moments(module: nn.Module, values: Tensor) -> _Moments:
    others = [d for d in range(values.ndim) if d != _channel_dimension(module, values)]
    wide = values if values.dtype == torch.float64 else values.float()
    variance, mean = torch.var_mean(wide, others, correction=0)
    return mean.double(), variance.double()


def _channel_dimension(module: nn.Module, values: Tensor) -> int:
    """Linear layers have channels last; convolutions may lack the batch's dimension."""
    if isinstance(module, nn.Linear):
        return values.ndim - 1
    spatial = {"1": 1, "2": 2, "3": 3}[type(module).__name__[-2]]
    return values.ndim - 1 - spatial if isinstance(module, _LINEAR) else 1


def _correct(module: nn.Module, values: Tensor, wanted: _Moments) -> Tensor | None:
    mean, variance = _moments(module, values)
    if isinstance(module, _NORMS):
        _correct_norm(module, (mean, variance), wanted)
        return None
    shift = (mean - wanted[0]).to(values.dtype)
    assert isinstance(module.bias, Tensor)
    module.bias -= shift
    shape = [1] * values.ndim
    shape[_channel_dimension(module, values)] = -1
    return values - shift.reshape(shape)


def _correct_norm(module: nn.Module, found: _Moments, wanted: _Moments) -> None:
    running_mean, running_var = module.running_mean, module.running_var
    assert isinstance(running_mean, Tensor)
    assert isinstance(running_var, Tensor)
    ratio = torch.where(wanted[1] > 0, found[1] / wanted[1], 1.0)
    ratio = ratio.clamp(_LEAST_RATIO, _GREATEST_RATIO)
    # The output keeps its mean although its scale is another: it would be off by the last term.
    away = (wanted[0] - running_mean) * (1 - ratio.sqrt())
    running_mean += (found[0] - wanted[0] + away).to(running_mean.dtype)
    running_var *= ratio.to(running_var.dtype)
