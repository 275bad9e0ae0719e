"""Second moments of what goes into linear and convolutional layers, by hooks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from .record import Moments
from .second_moments import SecondMoments

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer = nn.Linear | Convolution


class Layers:
    """Hooks on a model's layers; a context that removes them in the end.

    Layers with the same input share their moments: the first one's name stands for all.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._hooks: list[Any] = []
        self._on = False
        self._sums: dict[str, SecondMoments] = {}
        self._key_of: dict[nn.Module, str] = {}
        self._seen: list[tuple[weakref.ref[Tensor], tuple[object, ...], str]] = []
        self._made: dict[str, weakref.ref[Tensor]] = {}
        self._norms: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        users = _users(self._model)
        for module in self._names:
            if isinstance(module, Layer) and len(users[id(module.weight)]) == 1:
                self._hooks.append(module.register_forward_hook(self._see))
            elif isinstance(module, _BatchNorm):
                self._hooks.append(module.register_forward_pre_hook(self._see_norm))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this, layers that run are recorded."""
        self._on = True
        try:
            yield
        finally:
            self._on = False
            self._seen.clear()
            self._made.clear()

    def _see(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        assert isinstance(module, Layer)
        if not self._on or not inputs or not isinstance(output, Tensor):
            return
        name = self._names[module]
        self._made[name] = weakref.ref(output)
        shape = _shape_of_input(module)
        first = self._first_with(inputs[0], shape)
        # A layer that runs again with another input has no single moments: the first one's stay.
        if self._key_of.setdefault(module, first or name) != name or first is not None:
            return
        self._seen.append((weakref.ref(inputs[0]), shape, name))
        with torch.no_grad():
            self._sums.setdefault(name, SecondMoments()).add(
                _rows(module, inputs[0].detach().float())
            )

    def _first_with(self, x: Tensor, shape: tuple[object, ...]) -> str | None:
        """The layer that has seen this very input in this pass, and sums up its moments."""
        return next((n for seen, own, n in self._seen if seen() is x and own == shape), None)

    def _see_norm(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not self._on or not inputs:
            return
        for name, made in self._made.items():
            if made() is inputs[0]:
                norm = self._names[module]
                self._norms[name] = norm if self._norms.get(name, norm) == norm else None

    def moments(self) -> dict[str, Moments]:
        """The moments of each input."""
        return {key: sums.moments() for key, sums in self._sums.items()}

    def links(self, weight: nn.Parameter) -> dict[str, str]:
        """What belongs to a layer's weight: its input's moments, its bias, the norm behind it."""
        for module, key in self._key_of.items():
            if module.weight is not weight:
                continue
            name = self._names[module]
            prefix = f"{name}." if name else ""
            found = {"moments": key}
            norm = self._norms.get(name)
            if module.bias is not None:
                found["bias"] = f"{prefix}bias"
            elif norm is not None:
                found["norm"] = norm
            return found
        return {}


def _users(model: nn.Module) -> dict[int, list[nn.Module]]:
    """The modules that own each parameter, by its identity."""
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            users.setdefault(id(parameter), []).append(module)
    return users


def _shape_of_input(module: Layer) -> tuple[object, ...]:
    """What two layers with the same input must have in common to have the same moments."""
    if isinstance(module, nn.Linear):
        return ()
    return (
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
        module.padding_mode,
    )


def _rows(module: Layer, x: Tensor) -> Iterator[Tensor]:
    """What the layer's weights are multiplied with: float32[groups, positions, n], in parts."""
    if isinstance(module, nn.Linear):
        yield x.reshape(1, -1, x.shape[-1])
        return
    dims = len(module.kernel_size)
    batched = x if x.dim() == dims + 2 else x[None]
    for image in batched:
        yield unfold(module, image)


def unfold(module: Convolution, image: Tensor) -> Tensor:
    """The patches of one image, channels first, that a convolution multiplies with its kernels."""
    padding = module._reversed_padding_repeated_twice
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    x = functional.pad(image[None], padding, mode=mode)[0]
    geometry = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    dims = len(module.kernel_size)
    for axis, (size, stride, dilation) in enumerate(geometry):
        x = x.unfold(axis + 1, (size - 1) * dilation + 1, stride)[..., ::dilation]
    channels = image.shape[0] // module.groups
    # channels, positions, kernel -> groups, positions, channels of the group x kernel
    x = x.reshape(module.groups, channels, *x.shape[1:])
    order = [0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims)]
    patches: Tensor = x.permute(order).flatten(1, dims).flatten(2)
    return patches
