"""What a weight costs in a file that learns where weights are, and what is cheapest to do without.

A position is coded under the densities of its row, its kernel, its column and its place in the
kernel; a value under few levels. The price of a weight is what the file shrinks by if it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from chain import LAYERS, Layer, drop_dead
from torch import Tensor

VALUE_BITS = 3.3
UNIT_BITS = 10.0
LEAST_BITS = 1.0
# How much each density counts in the logistic mix.
KERNEL, ROW, COLUMN, PLACE = 0.45, 0.3, 0.25, 0.2


def weight_bits(mask: Tensor) -> Tensor:
    """Bits of each weight of a layer, as [outputs, inputs, positions], were it alive.

    Removing one of n survivors among N positions saves log2((N - n) / n) bits of positions to
    first order, the derivative of N times the entropy of n / N; densities are mixed by logits.
    """
    outputs, inputs, positions = mask.shape
    rows = _odds(mask, (1, 2), inputs * positions)
    if positions > 1 or inputs == 1:
        kernels = _odds(mask, (2,), positions)
        columns = _odds(mask, (0, 2), outputs * positions)
        places = _odds(mask, (0, 1), outputs * inputs)
        logit = KERNEL * kernels + ROW * rows + COLUMN * columns + PLACE * places
    else:
        logit = 0.6 * rows + 0.6 * _odds(mask, (0, 2), outputs)
    return (VALUE_BITS - logit).clamp(min=LEAST_BITS).expand(mask.shape)


def pixel_bits(mask: Tensor) -> Tensor:
    """The same for a layer over 28 x 28 pixels, where neighbours tell of one another."""
    count = mask.shape[0]
    images = mask.reshape(count, 1, 28, 28).double()
    near = torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False) * 9
    near = ((near + 0.3) / (9.6 - near)).log2().reshape(mask.shape)
    rows = _odds(mask, (1, 2), 784)
    columns = _odds(mask, (0, 2), count)
    logit = 0.45 * near + 0.35 * rows + 0.3 * columns
    return (VALUE_BITS - logit).clamp(min=LEAST_BITS)


def _odds(mask: Tensor, over: tuple[int, ...], count: int) -> Tensor:
    alive = mask.double().sum(over, keepdim=True)
    return ((alive + 0.4) / (count - alive + 0.4)).log2()


def cheapest(
    name: str,
    weights: Mapping[str, Tensor],
    squares: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    survivors: int,
) -> dict[str, Tensor]:
    """Masks with as many survivors at most: the least loss per bit goes first.

    The loss of a weight is w**2 times its mean squared gradient. A kernel, or a unit with all that
    enters and leaves it, goes where its losses over its bits together are the least.
    """
    layers = LAYERS[name]
    losses = {k: (w.double().square() * squares[k].double() * masks[k]) for k, w in weights.items()}
    bits = {k: masks[k].double() * (VALUE_BITS + 2) for k in weights}
    for layer in layers:
        key = f"{layer.name}.weight"
        mask = layer.view(masks[key])
        price = pixel_bits(mask) if mask.shape[1] == 784 else weight_bits(mask)
        bits[key] = (price * mask).reshape(masks[key].shape)
    ratios = {k: losses[k] / bits[k].clamp(min=LEAST_BITS) for k in weights}
    for layer in layers:
        _by_kernel(layer, ratios, losses, bits)
    for before, after in pairwise(layers):
        _by_unit(before, after, ratios, losses, bits)
    return drop_dead(name, _keep(ratios, masks, survivors))


def _keep(
    ratios: dict[str, Tensor], masks: Mapping[str, Tensor], survivors: int
) -> dict[str, Tensor]:
    order = {k: r.masked_fill(~masks[k], -1.0).reshape(-1) for k, r in ratios.items()}
    joined = torch.cat(list(order.values()))
    kept = torch.zeros(len(joined), dtype=torch.bool)
    alive = sum(int(mask.sum()) for mask in masks.values())
    kept[joined.argsort(descending=True, stable=True)[: min(survivors, alive)]] = True
    parts = torch.split(kept, [len(values) for values in order.values()])
    return {k: part.reshape(masks[k].shape) for k, part in zip(order, parts, strict=True)}


def _by_kernel(
    layer: Layer, ratios: dict[str, Tensor], losses: dict[str, Tensor], bits: dict[str, Tensor]
) -> None:
    key = f"{layer.name}.weight"
    ratio = layer.view(ratios[key])
    if ratio.shape[2] == 1:
        return
    whole = layer.view(losses[key]).sum(2) / layer.view(bits[key]).sum(2).clamp(min=LEAST_BITS)
    ratio.copy_(torch.minimum(ratio, whole[:, :, None]))


def _by_unit(
    before: Layer,
    after: Layer,
    ratios: dict[str, Tensor],
    losses: dict[str, Tensor],
    bits: dict[str, Tensor],
) -> None:
    entering, bias, leaving = f"{before.name}.weight", f"{before.name}.bias", f"{after.name}.weight"
    inside = before.view(losses[entering]).sum((1, 2)) + losses[bias]
    outside = after.view(losses[leaving]).sum((0, 2))
    saved = before.view(bits[entering]).sum((1, 2)) + bits[bias]
    saved = saved + after.view(bits[leaving]).sum((0, 2)) + UNIT_BITS
    whole = torch.minimum(inside, outside) / saved
    rows = before.view(ratios[entering])
    rows.copy_(torch.minimum(rows, whole[:, None, None]))
    ratios[bias] = torch.minimum(ratios[bias], whole)
    columns = after.view(ratios[leaving])
    columns.copy_(torch.minimum(columns, whole[None, :, None]))
