"""A trained model as it will be packed: plain names, zeros and shared values in place."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


@torch.no_grad()
def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state dict that the model had before it was shared, with the weights it has now.

    Parametrized weights come under their own names, as values, each once; the model stays as it
    is. Pairs NAME_orig, NAME_mask of `torch.nn.utils.prune` remain, which packing understands.
    """
    shared = dict(_parametrized(model))
    state: dict[str, Tensor] = {}
    for key, tensor in model.state_dict().items():
        path, found, rest = key.partition("parametrizations.")
        if not found:
            state[key] = tensor.detach()
            continue
        name = path + rest.split(".", 1)[0]
        if name not in state:
            state[name] = shared[name]
    return state


def _parametrized(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in model.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        parametrizations = module.parametrizations
        assert isinstance(parametrizations, nn.ModuleDict)
        for name in parametrizations:
            yield f"{prefix}.{name}" if prefix else name, getattr(module, name).detach()
