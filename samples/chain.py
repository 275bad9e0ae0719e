"""A network as a chain of layers whose units can be dropped, and put back as zeros.

Every layer's weight is seen as [outputs, input units, positions]: a convolution has the positions
of its kernel; the linear layer behind the convolutions has 16 for each filter; others have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from networks import NETWORKS
from torch import Tensor, nn

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's name, and how many positions each of its input units has in a linear weight."""

    name: str
    positions: int = 1

    def view(self, weight: Tensor) -> Tensor:
        """The weight, or anything of its shape, as [outputs, input units, positions]."""
        if weight.ndim == 4:
            return weight.reshape(*weight.shape[:2], -1)
        return weight.reshape(weight.shape[0], -1, self.positions)


LAYERS = {
    "lenet-300-100": (Layer("fc1"), Layer("fc2"), Layer("fc3")),
    "lenet5": (Layer("conv1"), Layer("conv2"), Layer("fc1", 16), Layer("fc2")),
}
FULL_WIDTHS = {"lenet-300-100": (300, 100), "lenet5": (20, 50, 500)}


def build(name: str, widths: tuple[int, ...]) -> nn.Module:
    """Return a new network with as many units in its hidden layers."""
    return NETWORKS[name](0.0, 0.0, widths)


def of_state(name: str, state: Weights) -> nn.Module:
    """Return the network that the state dict is of, as wide as its tensors are."""
    *hidden, _ = LAYERS[name]
    network = build(name, tuple(len(state[f"{layer.name}.bias"]) for layer in hidden))
    network.load_state_dict(state)
    return network


def drop_dead(name: str, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks without the weights of hidden units that nothing enters or that enter nothing.

    A unit without inputs gives a constant, which the next layer's biases can learn.
    """
    found = {key: mask.clone() for key, mask in masks.items()}
    layers = LAYERS[name]
    for _ in layers:
        for before, after in pairwise(layers):
            alive = _alive(before, after, found)
            found[f"{before.name}.weight"][~alive] = False
            found[f"{before.name}.bias"][~alive] = False
            after.view(found[f"{after.name}.weight"])[:, ~alive] = False
    return found


def _alive(before: Layer, after: Layer, masks: Mapping[str, Tensor]) -> Tensor:
    """Which units between two layers have both inputs and outputs."""
    entered = before.view(masks[f"{before.name}.weight"]).any(2).any(1)
    used = after.view(masks[f"{after.name}.weight"]).any(2).any(0)
    return entered & used


def narrow(name: str, network: nn.Module) -> nn.Module:
    """Return the network without hidden units that are dead, the busiest units first.

    The order is free, and a coder that learns as it goes likes what is alike to be together.
    """
    state = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
    masks = {key: tensor != 0 for key, tensor in state.items()}
    layers = LAYERS[name]
    for before, after in pairwise(layers):
        alive = _alive(before, after, masks)
        load = before.view(masks[f"{before.name}.weight"]).sum((1, 2))
        load = load + after.view(masks[f"{after.name}.weight"]).sum((0, 2))
        kept = load.masked_fill(~alive, -1).argsort(descending=True, stable=True)
        kept = kept[: int(alive.sum())]
        for values in (state, masks):
            _select(values, before, after, kept)
    return of_state(name, state)


def _select(values: Weights, before: Layer, after: Layer, kept: Tensor) -> None:
    for part in ("weight", "bias"):
        values[f"{before.name}.{part}"] = values[f"{before.name}.{part}"][kept]
    key = f"{after.name}.weight"
    shape = values[key].shape
    chosen = after.view(values[key])[:, kept]
    rest = shape[2:] if len(shape) == 4 else ()
    values[key] = chosen.reshape(shape[0], -1, *rest)


def widen(name: str, network: nn.Module) -> nn.Module:
    """Return the network of the full widths that calculates the same, with zeros for the rest."""
    full = build(name, FULL_WIDTHS[name])
    state = network.state_dict()
    for key, tensor in full.state_dict().items():
        tensor.zero_()
        tensor[tuple(slice(0, size) for size in state[key].shape)] = state[key]
    return full
