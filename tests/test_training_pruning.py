"""What was pruned stays pruned; scopes, units and scores choose what they say."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

import dcz  # noqa: E402
from dcz import training  # noqa: E402

NEVER = training.Steps(())


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 10), nn.Linear(10, 3)
    )


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = model(torch.randn(8, 2, 6, 6)).square().mean()
        value.backward()
        return value

    optimizer.step(loss)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 0.1, max_iter=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("unit", ["weight", "row"])
def test_masks_hold_through_any_optimizer(name: str, unit: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](list(model.parameters()))
    step(model, optimizer)  # momenta of weights that are pruned later
    pruner = training.Pruner(
        model, training.OneShot(0.7, at=1), optimizer, biases=True, unit=unit, score="lamp"
    )
    for _ in range(4):
        step(model, optimizer)
    assert 0.6 < pruner.sparsity < 0.701
    for key, kept in pruner.masks.items():
        weight = model.get_parameter(key)
        assert not weight[~kept].any()
        assert not torch.signbit(weight[~kept]).any()
        assert weight[kept].all()
        assert not weight.grad[~kept].any()
    survivors = pruner.finish()
    step(model, optimizer)
    assert any(bool(model.get_parameter(key)[~kept].any()) for key, kept in survivors.items())


def test_global_scope_prunes_the_smallest_of_all() -> None:
    model = network()
    every = torch.cat([p.detach().abs().reshape(-1) for p in model.parameters() if p.ndim > 1])
    cutoff = every.sort().values[round(0.8 * len(every))]
    kept = training.Pruner(model, training.OneShot(0.8)).masks
    start = network()
    for name, mask in kept.items():
        assert torch.equal(mask, start.get_parameter(name).abs() >= cutoff)


def test_tensor_scope_prunes_each_alike() -> None:
    model = network()
    pruner = training.Pruner(model, training.OneShot(0.5), scope="tensor", biases=True)
    assert len(pruner.masks) == 6
    for mask in pruner.masks.values():
        assert int((~mask).sum()) == round(0.5 * mask.numel())


@pytest.mark.parametrize(("unit", "dimension"), [("filter", 0), ("channel", 1), ("row", 0)])
def test_units_are_those_of_least_norm(unit: str, dimension: int) -> None:
    convolution = nn.Sequential(nn.Conv2d(8, 16, 3))
    start = copy.deepcopy(convolution)
    training.Pruner(convolution, training.OneShot(0.5), unit=unit)
    amount = start[0].weight.shape[dimension] // 2
    prune.ln_structured(start[0], "weight", amount, n=2, dim=dimension)
    assert torch.equal(convolution[0].weight, start[0].weight)


def test_kernels_are_pruned_whole() -> None:
    model = network()
    training.Pruner(model, training.OneShot(0.5), unit="kernel", select="0.*")
    kernels = model[0].weight.detach().reshape(6, 2, 9)
    assert int((kernels == 0).all(2).sum()) == 6
    assert ((kernels == 0).all(2) | (kernels != 0).all(2)).all()


def test_lamp_is_its_definition() -> None:
    weight = torch.randn(7, 9)
    scores = training.SCORES["lamp"](weight, None)
    for i in range(7):
        for j in range(9):
            square = weight[i, j].double() ** 2
            squares = weight.double() ** 2
            assert scores[i, j] == pytest.approx(float(square / squares[squares >= square].sum()))


def test_gradient_score_keeps_what_the_loss_feels() -> None:
    layer = nn.Sequential(nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        layer[0].weight.copy_(torch.tensor([[0.1, 1.0, 1.1, 0.2]]))
    optimizer = torch.optim.SGD(layer.parameters(), 0.0)
    pruner = training.Pruner(layer, training.OneShot(0.5, at=1), optimizer, score="gradient")
    layer(torch.tensor([[100.0, 0.001, 0.002, 50.0]])).sum().backward()
    optimizer.step()
    assert pruner.masks["0.weight"].tolist() == [[True, False, False, True]]


def test_gradient_score_needs_gradients() -> None:
    with pytest.raises(ValueError, match="needs gradients"):
        training.Pruner(network(), training.OneShot(0.5), score="gradient")


def test_the_first_gradients_count_alike() -> None:
    layer = nn.Linear(3, 2, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), 0.0)
    pruner = training.Pruner(layer, NEVER, optimizer, score="gradient")
    gradients = torch.randn(20, 2, 3)
    for gradient in gradients:
        optimizer.zero_grad()
        (layer.weight * gradient).sum().backward()
        optimizer.step()
    mean = gradients.square().mean(0)
    torch.testing.assert_close(pruner.squared_gradients["weight"], mean)


def test_schedules_ramp_as_written() -> None:
    cubic = training.Cubic(0.9, begin=10, end=110, initial=0.1, every=20)
    shares = [cubic.sparsity(step) for step in range(140)]
    assert shares[9] == 0.0
    assert shares[10] == shares[29] == pytest.approx(0.1)
    assert shares[70] == pytest.approx(0.9 - 0.8 * 0.4**3)
    assert shares[110] == shares[139] == 0.9
    assert shares == sorted(shares)
    linear = training.Linear(0.5, begin=2, end=12, every=5)
    assert [linear.sparsity(step) for step in (0, 6, 7, 11, 12, 99)] == [0, 0, 0.25, 0.25, 0.5, 0.5]
    steps = training.Steps([(0, 0.1), (5, 0.5)])
    assert [steps.sparsity(step) for step in (0, 4, 5, 9)] == [0.1, 0.1, 0.5, 0.5]
    with pytest.raises(ValueError, match="ascend"):
        training.Steps([(0, 0.5), (5, 0.1)])
    with pytest.raises(ValueError, match="share"):
        training.OneShot(1.5)
    for ramp in (
        {"begin": 5, "end": 5},
        {"begin": -1, "end": 5},
        {"begin": 0, "end": 5, "every": 0},
    ):
        for schedule in (training.Linear, training.Cubic):
            with pytest.raises(ValueError, match="ramp"):
                schedule(0.5, **ramp)
    with pytest.raises(ValueError, match="ramp"):
        training.Cubic(0.5, begin=0, end=5, initial=0.6)


def test_pruning_follows_the_schedule_step_by_step() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    cubic = training.Cubic(0.9, begin=2, end=12, every=2)
    pruner = training.Pruner(model, cubic, optimizer)
    before = pruner.masks
    for number in range(1, 15):
        step(model, optimizer)
        assert pruner.sparsity == pytest.approx(cubic.sparsity(number), abs=2e-3)
        assert not any((~before[name] & mask).any() for name, mask in pruner.masks.items())
        before = pruner.masks


def test_interrupted_pruning_goes_on() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    pruner = training.Pruner(model, training.Cubic(0.9, 0, 10), optimizer, score="gradient")
    for _ in range(5):
        step(model, optimizer)
    again = training.Pruner(model, training.Cubic(0.9, 0, 10), score="gradient")
    again.load_state_dict(pruner.state_dict())
    assert again.steps == pruner.steps
    assert again.sparsity == pruner.sparsity
    again.step()
    pruner.step()
    for name, mask in pruner.masks.items():
        assert torch.equal(mask, again.masks[name])


def prune_by_torch(model: nn.Sequential, method: str) -> None:
    convolution, last = model[0], model[4]
    if method == "global_unstructured":
        pairs = [(convolution, "weight"), (last, "weight"), (last, "bias")]
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.6)
    elif method == "ln_structured":
        prune.ln_structured(convolution, "weight", 2, n=2, dim=0)
    elif method == "custom_from_mask":
        prune.custom_from_mask(last, "bias", torch.tensor([0, 1, 1]))
    else:
        getattr(prune, method)(convolution, "weight", 0.3)
        getattr(prune, method)(convolution, "weight", 0.3)  # iterated: one more pass on the rest


METHODS = [
    "random_unstructured",
    "l1_unstructured",
    "ln_structured",
    "global_unstructured",
    "custom_from_mask",
]


@pytest.mark.parametrize("method", METHODS)
def test_masks_come_from_torch_and_go_back(method: str) -> None:
    model = network()
    prune_by_torch(model, method)
    model[0].register_forward_pre_hook(lambda module, inputs: None)  # not one that prunes
    inputs = torch.randn(4, 2, 6, 6)
    outputs = model(inputs)
    theirs = {key: value.clone() for key, value in model.state_dict().items()}
    parameters = {id(p) for p in model.parameters()}
    masks = training.from_torch_prune(model)
    assert {id(p) for p in model.parameters()} == parameters
    assert not prune.is_pruned(model)
    assert torch.equal(model(inputs), outputs)
    training.to_torch_prune(model, masks)
    ours = model.state_dict()
    assert ours.keys() == theirs.keys()
    for key in ours:
        kept = theirs[key.replace("_orig", "_mask")] if key.endswith("_orig") else 1
        assert torch.equal(ours[key] * kept, theirs[key] * kept), key
    assert torch.equal(model(inputs), outputs)


def test_masks_after_remove_are_the_zeros() -> None:
    model = network()
    prune.l1_unstructured(model[3], "weight", 0.5)
    mask = model[3].weight_mask.clone()
    prune.remove(model[3], "weight")
    assert torch.equal(training.masks_of_zeros(model)["3.weight"], mask != 0)


def test_pruner_goes_on_from_torch_prune() -> None:
    model = network()
    prune.l1_unstructured(model[3], "weight", 0.5)
    mask = model[3].weight_mask.clone() != 0
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    pruner = training.Pruner(model, training.OneShot(0.8, at=2), optimizer, scope="tensor")
    step(model, optimizer)
    assert torch.equal(pruner.masks["3.weight"], mask)
    step(model, optimizer)
    assert not (pruner.masks["3.weight"] & ~mask).any()
    assert pruner.sparsity == pytest.approx(0.8, abs=0.01)


def test_pack_folds_the_masks_of_torch(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = network()
    pruner = training.Pruner(model, training.OneShot(0.5))
    training.to_torch_prune(model, pruner.finish())
    dcz.save_state_dict(model.state_dict(), tmp_path / "m.dcz", dcz.Recipe(quantizer="lossless"))
    loaded = dcz.load_state_dict(tmp_path / "m.dcz")
    assert loaded.keys() == network().state_dict().keys()
    assert torch.equal(loaded["3.weight"], model[3].weight)


def test_unknown_options_are_refused() -> None:
    for options in ({"scope": "layer"}, {"unit": "block"}, {"select": "nothing"}):
        with pytest.raises(ValueError):
            training.Pruner(network(), NEVER, **options)
