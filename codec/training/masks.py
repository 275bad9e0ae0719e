"""Masks of pruned weights, and their way to and from `torch.nn.utils.prune`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

# From a parameter's name to a bool tensor of its shape: True where the weight survives.
Masks = dict[str, Tensor]


def prunable(model: nn.Module, biases: bool, select: str) -> dict[str, nn.Parameter]:
    """The parameters that may be pruned, by name.

    Matrices, kernels and whatever else has two or more dimensions; biases are parameters of that
    name beside a weight of two or more. Tied parameters come once.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = {
        name: parameter
        for name, parameter in model.named_parameters()
        if fnmatchcase(name, select) and (parameter.ndim > 1 or (biases and _is_bias(model, name)))
    }
    if not found:
        raise ValueError(f"no parameter of the model can be pruned under the pattern {select!r}")
    return found


def _is_bias(model: nn.Module, name: str) -> bool:
    module, _, last = name.rpartition(".")
    weight = getattr(model.get_submodule(module), "weight", None)
    return last in ("bias", "bias_orig") and isinstance(weight, Tensor) and weight.ndim > 1


def masks_of_zeros(model: nn.Module, *, biases: bool = False, select: str = "*") -> Masks:
    """The masks that a pruned model's zeros tell, as after `torch.nn.utils.prune.remove`."""
    found = prunable(model, biases, select)
    return {name: parameter.detach() != 0 for name, parameter in found.items()}


def from_torch_prune(model: nn.Module) -> Masks:
    """Take the masks of `torch.nn.utils.prune` over, and leave plain parameters behind.

    Every pair NAME_orig, NAME_mask becomes the parameter NAME, the same object that an optimizer
    knows, with zeros where the mask has them; the hooks are removed. Iterated pruning has one
    mask, the product of all.
    """
    masks: Masks = {}
    for path, module, name in list(_pruned_by_torch(model)):
        kept = getattr(module, f"{name}_mask").detach() != 0
        prune.remove(module, name)  # type: ignore[no-untyped-call]
        parameter = getattr(module, name)
        with torch.no_grad():
            parameter.masked_fill_(~kept, 0)
        masks[path] = kept
    return masks


def to_torch_prune(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Hand masks to `torch.nn.utils.prune`, as `custom_from_mask` does: NAME_orig and NAME_mask."""
    for path, mask in masks.items():
        module, _, name = path.rpartition(".")
        prune.custom_from_mask(model.get_submodule(module), name, mask)  # type: ignore[no-untyped-call]


def _pruned_by_torch(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """For each pruned parameter its path, its module and its name there."""
    for prefix, module in model.named_modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                name = hook._tensor_name  # the library's only record of it
                yield f"{prefix}.{name}" if prefix else name, module, name
