"""Repair gives layers the moments they had, and leaves alone what packing left alone."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn  # noqa: E402

from dcz import training  # noqa: E402


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )
    model(torch.randn(64, 3, 12, 12))
    return model.eval()


def damaged(model: nn.Module, share: float = 0.15) -> nn.Module:
    worse = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in worse.parameters():
            if parameter.ndim > 1:
                parameter += share * parameter.abs().mean() * (1 + torch.randn_like(parameter))
    return worse


def test_unchanged_network_stays_exact() -> None:
    model = network()
    repaired = training.recalibrate(model, copy.deepcopy(model), torch.randn(16, 3, 12, 12))
    for name, tensor in repaired.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_outputs_have_the_means_they_had() -> None:
    model = network()
    packed = damaged(model)
    inputs = torch.randn(64, 3, 12, 12)
    assert training.recalibrate(model, packed, inputs) is packed
    # The first norm and layers with biases; behind a ReLU, a later norm can only come near.
    for depth, over in ((2, (0, 2, 3)), (7, (0, 2, 3)), (10, (0,))):
        wanted, found = model[:depth](inputs), packed[:depth](inputs)
        torch.testing.assert_close(found.mean(over), wanted.mean(over), atol=1e-4, rtol=1e-4)
    wanted, found = model[:2](inputs), packed[:2](inputs)
    torch.testing.assert_close(found.var((0, 2, 3)), wanted.var((0, 2, 3)), atol=1e-3, rtol=1e-3)


def test_repair_brings_outputs_nearer_on_other_inputs() -> None:
    model = network()
    packed = damaged(model)
    torch.manual_seed(1)
    fresh = torch.randn(64, 3, 12, 12)
    before = (packed(fresh) - model(fresh)).square().mean()
    training.recalibrate(model, packed, torch.randn(64, 3, 12, 12))
    assert (packed(fresh) - model(fresh)).square().mean() < 0.5 * before


def test_only_moments_and_biases_change() -> None:
    model = network()
    packed = damaged(model)
    before = copy.deepcopy(packed.state_dict())
    packed.train()
    training.recalibrate(model, packed, torch.randn(16, 3, 12, 12))
    assert packed.training
    assert not model.training
    changed = {n for n, t in packed.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {
        *(f"{i}.{kind}" for i in (1, 4) for kind in ("running_mean", "running_var")),
        "6.bias",
        "9.bias",
    }
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in packed.modules())


def test_silenced_channels_stay_finite() -> None:
    model = network()
    packed = copy.deepcopy(model)
    with torch.no_grad():
        packed[0].weight[:4] = 0
    inputs = torch.randn(16, 3, 12, 12)
    training.recalibrate(model, packed, inputs)
    assert torch.isfinite(packed(10 * torch.randn(16, 3, 12, 12))).all()
    assert (packed[1].running_var > 0).all()


def test_layers_that_run_twice_are_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(torch.relu(self.layer(x)))

    model = Twice()
    packed = damaged(model)
    bias = packed.layer.bias.clone()
    training.recalibrate(model, packed, torch.randn(16, 4))
    assert torch.equal(packed.layer.bias, bias)


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="same layers"):
        training.recalibrate(network(), network()[:5], torch.randn(2, 3, 12, 12))
