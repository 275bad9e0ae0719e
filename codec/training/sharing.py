"""Trained weight sharing: centroids are the parameters, and each weight keeps its index.

Deep Compression (Han et al. 2016), section 3: after k-means the network is retrained, where the
gradient of a centroid is the sum over the weights that share it (equation 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .. import weights as codec_share
from ..kernels import weights as kernels
from ..share import histogram, kmeans
from .losses import bits_of_counts


class SharedWeights(nn.Module):
    """Parametrization of a weight by centroids: entry 0 of the codebook is zero and stays zero.

    The parameter is `original0` of the parametrization: float[levels], the values besides zero.

    Attributes
    ----------
    levels : int
        Number of centroids.
    indices : uint8 or int32 tensor of the weight's shape
        For each weight 0 for zero, or one more than the centroid's number.
    pull : Tensor or None
        Sum of each weight's own gradient since the last renewal, where one is to come.
    """

    indices: Tensor
    pull: Tensor | None

    def __init__(self, indices: Tensor, levels: int, *, renewable: bool = False) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("indices", indices.to(torch.uint8 if levels < 256 else torch.int32))
        self.register_buffer("pull", None, persistent=False)
        if renewable:
            self.pull = torch.zeros(indices.shape, device=indices.device)

    def forward(self, centroids: Tensor) -> Tensor:
        """Look the weights up."""
        weight: Tensor = _Lookup.apply(centroids, self.indices, self.pull)  # type: ignore[no-untyped-call]
        return weight

    def right_inverse(self, weight: Tensor) -> tuple[Tensor]:
        """The centroids that are nearest to a weight under the indices: its members' means."""
        flat = self.indices.reshape(-1).long()
        sums = torch.bincount(flat, weight.detach().reshape(-1).double(), self.levels + 1)
        counts = torch.bincount(flat, minlength=self.levels + 1).clamp(min=1)
        return ((sums / counts)[1:].to(weight.dtype),)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, centroids: Tensor, indices: Tensor, pull: Tensor | None) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.levels, ctx.pull = centroids.numel(), pull
        codebook = torch.cat((centroids.new_zeros(1), centroids))
        return codebook.index_select(0, indices.reshape(-1).int()).reshape(indices.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Equation 3 of the paper: a centroid's gradient is the sum over its members."""
        (indices,) = ctx.saved_tensors
        if ctx.pull is not None:
            ctx.pull += gradient
        wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        sums = torch.bincount(indices.reshape(-1), wide.reshape(-1), ctx.levels + 1)
        return sums[1:].to(gradient.dtype), None, None


@dataclass(frozen=True, slots=True)
class Renewal:
    """When and how far weights may change their index.

    Attributes
    ----------
    every : int
        Steps from one renewal to the next.
    until : int
        The last step that may renew.
    rate : float
        How far a weight moves against its accumulated gradient before it chooses again: a weight
        that was pulled as the root mean square of all moves by this share of the mean distance
        between levels.
    slope : float
        The squared error that a bit has to save: a dearer level must be nearer by as much
        (entropy-constrained quantization: Chou, Lookabaugh and Gray 1989).
    """

    every: int
    until: int
    rate: float = 0.25
    slope: float = 0.0


class Sharing:
    """The shared weights of a model.

    Attributes
    ----------
    tensors : dict from a parameter's name to `SharedWeights`
    """

    def __init__(
        self,
        places: dict[str, tuple[nn.Module, str]],
        renewal: Renewal | None,
    ) -> None:
        self._places = places
        self._renewal = renewal
        self.steps = 0

    @property
    def tensors(self) -> dict[str, SharedWeights]:
        """The parametrization of each weight, by the name that its parameter had."""
        return {name: _parametrization(*place)[0] for name, place in self._places.items()}

    @property
    def codebooks(self) -> dict[str, nn.Parameter]:
        """The centroids of each weight, by its name; one object where they are shared."""
        return {n: _parametrization(*place).original0 for n, place in self._places.items()}

    def step(self, *_: object) -> None:
        """Follow a step of the optimizer: renew the indices if it is time.

        Made for `optimizer.register_step_post_hook(sharing.step)` too.
        """
        self.steps += 1
        plan = self._renewal
        if plan is not None and self.steps <= plan.until and self.steps % plan.every == 0:
            self.renew(plan.rate, plan.slope)

    @torch.no_grad()
    def renew(self, rate: float, slope: float = 0.0) -> int:
        """Let each weight choose its index again after a move against its gradient; see `Renewal`.

        Zeros stay zero and others do not become zero. Returns how many weights chose another.
        """
        changed = 0
        for name, shared in self.tensors.items():
            changed += _renew(shared, self.codebooks[name].detach(), rate, slope)
        return changed

    def finish(self) -> None:
        """Make every weight a plain parameter again, with its shared values."""
        for module, name in self._places.values():
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        self._places = {}


def share(
    model: nn.Module,
    *,
    bits: int | None = None,
    levels: int | None = None,
    select: str = "*",
    together: Sequence[str] = (),
    initialisation: str = "linear",
    renewal: Renewal | None = None,
) -> Sharing:
    """Put the weights of a model under codebooks whose values are trained.

    The parameters change: make a new optimizer afterwards. Weights that are exactly zero stay so.

    Parameters
    ----------
    model : Module
    bits, levels : int, one of the two
        2**bits - 1 values besides zero, or `levels` of them. `dcz.pack` notices by itself up to
        255, and one for two weights; with more, give it the quantizer "lossless".
    select : str
        Pattern of the parameters' names, as the shell matches files. Only tensors of two or more
        dimensions are shared.
    together : sequence of str
        Patterns; tensors that match the same one have one codebook in common.
    initialisation : str
        Where k-means starts: "linear" as in the paper, or another key of `Recipe.initialisation`.
    renewal : Renewal, optional
        When indices are chosen again; see `Sharing.step`.

    Raises
    ------
    ValueError
        If nothing matches, or a weight is no longer a parameter (unfinished pruning by
        `torch.nn.utils.prune`).
    """
    if (bits is None) == (levels is None):
        raise ValueError("give bits or levels")
    count = 2**bits - 1 if bits is not None else levels
    assert count is not None
    groups: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and fnmatchcase(name, select):
            group = next((p for p in together if fnmatchcase(name, p)), name)
            groups.setdefault(group, []).append(name)
    if not groups:
        raise ValueError(f"no parameter of the model can be shared under the pattern {select!r}")
    places = {}
    for names in groups.values():
        weights = [model.get_parameter(name).detach() for name in names]
        centroids, indices = _cluster(weights, count, initialisation)
        common = nn.Parameter(centroids)
        for name, index in zip(names, indices, strict=True):
            places[name] = _register(model, name, index, common, renewal is not None)
    return Sharing(places, renewal)


def _register(
    model: nn.Module, name: str, indices: Tensor, centroids: nn.Parameter, renewable: bool
) -> tuple[nn.Module, str]:
    path, _, last = name.rpartition(".")
    module = model.get_submodule(path)
    shared = SharedWeights(indices, len(centroids), renewable=renewable)
    parametrize.register_parametrization(module, last, shared)
    _parametrization(module, last).original0 = centroids
    return module, last


def _parametrization(module: nn.Module, name: str) -> Any:
    return module.parametrizations[name]  # type: ignore[index]


def _cluster(
    weights: list[Tensor], levels: int, initialisation: str
) -> tuple[Tensor, list[Tensor]]:
    """K-means by the codec: the centroids besides zero, and the indices of each tensor."""
    flat = np.concatenate([codec_share.widen(w.cpu().numpy()) for w in weights])
    summary = kernels.summarize(flat)
    shape = histogram.histogram(flat, 0.0, summary, levels)
    start: Callable[..., Any] = kmeans.INITIALISATIONS[initialisation]
    codebook = kmeans.make_codebook(shape, start(shape, levels), flat.dtype)
    found = kmeans.assign(flat, 0.0, codebook, zeros=True)
    device, kind = weights[0].device, weights[0].dtype
    indices = torch.from_numpy(found.indices.astype(np.int32)).to(device)
    parts = indices.split([weight.numel() for weight in weights])  # type: ignore[no-untyped-call]
    shaped = [part.reshape(w.shape) for part, w in zip(parts, weights, strict=True)]
    return torch.from_numpy(codebook).to(device, kind), shaped


def _renew(shared: SharedWeights, centroids: Tensor, rate: float, slope: float) -> int:
    """Choose the indices of one tensor again and forget its pull."""
    alive = shared.indices > 0
    if shared.pull is None or len(centroids) < 2 or not alive.any():
        return 0
    old = shared.indices[alive].long() - 1
    pull = shared.pull[alive]
    shared.pull.zero_()
    ordered = centroids.sort().values
    spacing = (ordered[-1] - ordered[0]) / (len(ordered) - 1)
    scale = pull.square().mean().sqrt()
    moved = centroids[old] - rate * spacing * pull / scale if scale > 0 else centroids[old]
    new = _cheapest(moved, centroids, slope, torch.bincount(old, minlength=len(centroids)))
    shared.indices[alive] = (new + 1).to(shared.indices.dtype)
    return int((new != old).sum())


def _cheapest(values: Tensor, centroids: Tensor, slope: float, counts: Tensor) -> Tensor:
    """The centroid of the least squared distance plus slope times bits for each value."""
    prices = slope * bits_of_counts(counts).to(values.dtype)
    parts = values.split(max(1, (1 << 22) // len(centroids)))  # type: ignore[no-untyped-call]
    found = [((p[:, None] - centroids).square() + prices).argmin(1) for p in parts]
    return torch.cat(found)
