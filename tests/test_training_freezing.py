"""Frozen weights lie on the grid of their tensor, and the rest makes up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn  # noqa: E402

import dcz  # noqa: E402
from dcz import training  # noqa: E402


def problem() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4))
    inputs = torch.randn(512, 12)
    targets = teacher(inputs).detach()
    training.Pruner(teacher, training.OneShot(0.3)).finish()
    return teacher, inputs, targets


def loss_of(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (model(inputs) - targets).square().mean()


def fit(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, **freezing: float) -> None:
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    pruner = training.Pruner(model, training.Steps(()), masks=training.masks_of_zeros(model))
    optimizer.register_step_post_hook(lambda *_: pruner.step())
    ramp = training.Cubic(1.0, 60, 300, every=10)
    freezer = training.Freezer(model, ramp, optimizer, **freezing) if freezing else None
    for _ in range(300):
        optimizer.zero_grad()
        loss_of(model, inputs, targets).backward()
        optimizer.step()
    if freezer is not None:
        freezer.finish()


def test_frozen_weights_are_exact_multiples_of_one_step() -> None:
    model, inputs, targets = problem()
    zeros = {name: p.detach() == 0 for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    freezer = training.Freezer(model, training.Cubic(1.0, 50, 250, every=5), optimizer)
    for _ in range(150):
        optimizer.zero_grad()
        loss_of(model, inputs, targets).backward()
        optimizer.step()
    assert 0.5 < freezer.share < 1
    steps = freezer.finish()
    assert freezer.share == 1
    for name, parameter in model.named_parameters():
        weight = parameter.detach()
        levels = (weight.double() / steps[name]).round()
        assert torch.equal(weight.double(), levels * steps[name])
        assert not weight[zeros[name]].any()


def test_fixed_weights_do_not_move_and_free_ones_do() -> None:
    model, inputs, targets = problem()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    stages = training.Steps([(1, 0.5)])
    training.Freezer(model, stages, optimizer, learning_rate=0.0)
    before: dict[str, torch.Tensor] = {}
    for _ in range(3):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad()
        loss_of(model, inputs, targets).backward()
        optimizer.step()
    same = torch.cat([(p.detach() == before[n]).reshape(-1) for n, p in model.named_parameters()])
    alive = torch.cat([(b != 0).reshape(-1) for b in before.values()])
    assert float(same[alive].double().mean()) == pytest.approx(0.5, abs=0.05)


def test_steps_follow_the_fisher_information() -> None:
    model = nn.Sequential(nn.Linear(20, 20, bias=False), nn.Linear(20, 20, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    freezer = training.Freezer(
        model, training.Steps([(60, 0.1)]), optimizer, mean_level=5.0, learning_rate=0.0
    )
    for _ in range(60):
        optimizer.zero_grad()
        (
            model[0].weight * torch.randn(20, 20) + 3 * model[1].weight * torch.randn(20, 20)
        ).sum().backward()
        optimizer.step()
    steps = freezer.steps
    assert steps["0.weight"] / steps["1.weight"] == pytest.approx(3, rel=0.1)
    levels = [model[i].weight.detach().abs() / steps[f"{i}.weight"] for i in range(2)]
    assert float(torch.cat(levels).mean()) == pytest.approx(5, rel=0.1)


def test_freezing_costs_less_than_rounding() -> None:
    model, inputs, targets = problem()
    fit(model, inputs, targets)
    frozen = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4))
    frozen.load_state_dict(model.state_dict())
    fit(frozen, inputs, targets, mean_level=1.5)
    plain = training.Freezer(model, training.Steps(()), mean_level=1.5)
    loss_of(model, inputs, targets).backward()
    plain.finish()
    rounded = loss_of(model, inputs, targets)
    assert loss_of(frozen, inputs, targets) < 0.5 * rounded


def test_weights_that_round_to_zero_have_no_sign() -> None:
    model, inputs, targets = problem()
    loss_of(model, inputs, targets).backward()
    training.Freezer(model, training.Steps(()), mean_level=1.0).finish()
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    assert (weights == 0).any()
    assert not weights[weights == 0].signbit().any()


def test_packing_keeps_the_grid(tmp_path: Path) -> None:
    model, inputs, targets = problem()
    loss_of(model, inputs, targets).backward()
    freezer = training.Freezer(model, training.Steps(()), mean_level=2.0)
    freezer.finish()
    dcz.save_state_dict(model.state_dict(), tmp_path / "m.dcz")
    for name, tensor in dcz.load_state_dict(tmp_path / "m.dcz").items():
        assert torch.equal(tensor, model.get_parameter(name))
