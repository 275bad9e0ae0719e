"""Shared weights train as their centroids do, and are packed as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrize  # noqa: E402

import dcz  # noqa: E402
from dcz import training  # noqa: E402


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 20), nn.Linear(20, 4)
    )


def pruned_network(share: float = 0.6) -> nn.Sequential:
    model = network()
    training.Pruner(model, training.OneShot(share)).finish()
    return model


def train(model: nn.Module, steps: int = 5, rate: float = 0.05) -> None:
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(torch.randn(16, 1, 6, 6)), torch.arange(16) % 4).backward()
        optimizer.step()


@pytest.mark.parametrize("levels", [3, 31, 300])
def test_gradient_of_a_centroid_is_the_sum_over_its_members(levels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    indices = torch.randint(0, levels + 1, (40, 30), generator=generator)
    centroids = torch.randn(levels, generator=generator, requires_grad=True)
    factor = torch.randn(40, 30, generator=generator)
    weight = training.SharedWeights(indices, levels)(centroids)
    (weight * factor).sum().backward()
    plain = centroids.detach().clone().requires_grad_()
    by_autograd = torch.cat((torch.zeros(1), plain))[indices]
    (by_autograd * factor).sum().backward()
    assert torch.equal(weight, by_autograd)
    assert plain.grad is not None
    torch.testing.assert_close(centroids.grad, plain.grad)
    looped = [0.0] * (levels + 1)
    for index, value in zip(indices.reshape(-1).tolist(), factor.reshape(-1).tolist(), strict=True):
        looped[index] += value
    np.testing.assert_allclose(centroids.grad, looped[1:], rtol=1e-4, atol=1e-5)


def test_sharing_is_a_parametrization_whose_parameters_are_centroids() -> None:
    model = network()
    sharing = training.share(model, bits=3, select="3.*")
    assert parametrize.is_parametrized(model[3], "weight")
    assert sharing.codebooks["3.weight"].shape == (7,)
    assert model[3].parametrizations["weight"].original0 is sharing.codebooks["3.weight"]
    assert sum(p.numel() for p in model[3].parameters()) == 7 + 20
    assert len(model[3].weight.unique()) == 7


def test_zero_stays_zero_and_indices_stay() -> None:
    model = pruned_network()
    zeros = {name: p == 0 for name, p in model.named_parameters() if p.ndim > 1}
    sharing = training.share(model, bits=4)
    indices = {name: t.indices.clone() for name, t in sharing.tensors.items()}
    before = training.plain_state_dict(model)
    train(model)
    for name, weight in training.plain_state_dict(model).items():
        if name in zeros:
            assert torch.equal(weight == 0, zeros[name])
            assert torch.equal(sharing.tensors[name].indices, indices[name])
            assert not torch.equal(weight, before[name])


def test_a_codebook_may_be_shared_by_several_tensors() -> None:
    model = pruned_network()
    sharing = training.share(model, levels=9, together=("[34].weight",))
    books = sharing.codebooks
    assert books["3.weight"] is books["4.weight"]
    assert books["3.weight"] is not books["0.weight"]
    assert sum(p is books["3.weight"] for p in model.parameters()) == 1
    train(model)
    union = torch.cat([model[i].weight.detach().reshape(-1) for i in (3, 4)]).unique()
    assert len(union) <= 10
    model[3].zero_grad()
    model[4].zero_grad()
    (model[3].weight.sum() + model[4].weight.sum()).backward()
    members = sum(int((sharing.tensors[f"{i}.weight"].indices > 0).sum()) for i in (3, 4))
    assert books["3.weight"].grad is not None
    assert float(books["3.weight"].grad.sum()) == members


def test_plain_state_dict_has_the_names_and_values_of_the_model() -> None:
    model = pruned_network()
    keys = list(model.state_dict())
    training.share(model, bits=4, together=("*",))
    train(model, steps=1)
    state = training.plain_state_dict(model)
    assert sorted(state) == sorted(keys)
    fresh = network(1)
    fresh.load_state_dict(state)
    inputs = torch.randn(3, 1, 6, 6)
    assert torch.equal(fresh(inputs), model(inputs))


def test_finishing_leaves_plain_parameters() -> None:
    model = pruned_network()
    sharing = training.share(model, bits=4, together=("*",))
    state = training.plain_state_dict(model)
    sharing.finish()
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert model.state_dict().keys() == state.keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, state[name])
        assert parameter.is_leaf
    train(model)


@pytest.mark.parametrize(
    ("shape", "levels"), [((8, 1, 3, 3), 31), ((20, 128), 63), ((30, 20), 255), ((500, 40), 255)]
)
def test_packing_loses_nothing_by_itself(
    tmp_path: Path, shape: tuple[int, ...], levels: int
) -> None:
    layer = nn.Conv2d(1, 8, 3) if len(shape) == 4 else nn.Linear(shape[1], shape[0])
    model = nn.Sequential(layer)
    training.Pruner(model, training.OneShot(0.3)).finish()
    training.share(model, levels=min(levels, layer.weight.numel() // 3))
    state = training.plain_state_dict(model)
    report = dcz.save_state_dict(state, tmp_path / "m.dcz")
    assert report.relative_error == 0
    for name, tensor in dcz.load_state_dict(tmp_path / "m.dcz").items():
        assert torch.equal(tensor, state[name])


def test_renewal_moves_weights_against_their_gradient() -> None:
    layer = nn.Linear(64, 1, bias=False)
    model = nn.Sequential(layer)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, 64)[None])
        layer.weight[0, :8] = 0
    sharing = training.share(model, levels=8, renewal=training.Renewal(2, 4, rate=0.5))
    shared = sharing.tensors["0.weight"]
    zeros = shared.indices == 0
    direction = torch.ones(64)
    direction[20:40] = -3.0
    before = layer.weight.detach().clone()
    model(direction[None]).sum().backward()
    sharing.step()
    assert torch.equal(layer.weight, before)
    model(direction[None]).sum().backward()
    sharing.step()
    change = (layer.weight.detach() - before)[0]
    assert change.any()
    assert (change * direction <= 0).all()
    assert torch.equal(shared.indices == 0, zeros)
    assert shared.pull is not None
    assert not shared.pull.any()
    for _ in range(4):
        indices = shared.indices.clone()
        model(direction[None]).sum().backward()
        sharing.step()
    assert torch.equal(shared.indices, indices)  # past the last renewal


def test_renewal_of_a_tensor_without_weights_does_nothing() -> None:
    layer = nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
    sharing = training.share(layer, levels=4, renewal=training.Renewal(1, 3))
    layer(torch.ones(1, 6)).sum().backward()
    sharing.step()
    assert not layer.weight.any()


def test_renewal_prefers_levels_that_cost_fewer_bits() -> None:
    def entropy(slope: float) -> float:
        model = nn.Sequential(nn.Linear(100, 100))
        torch.manual_seed(3)
        nn.init.normal_(model[0].weight)
        sharing = training.share(model, levels=15, renewal=training.Renewal(1, 1))
        (model[0].weight * torch.randn(100, 100)).sum().backward()
        sharing.renew(0.3, slope)
        counts = torch.bincount(sharing.tensors["0.weight"].indices.reshape(-1)).double()
        share = counts[counts > 0] / counts.sum()
        return float(-(share * share.log2()).sum())

    assert entropy(0.02) < entropy(0.0)


def test_assigned_weights_become_their_members_means() -> None:
    model = network()
    sharing = training.share(model, bits=3, select="3.*")
    indices = sharing.tensors["3.weight"].indices
    given = torch.randn(20, 128)
    with torch.no_grad():
        model[3].weight = given
    for level in range(1, 8):
        expected = given[indices == level].mean()
        assert float(sharing.codebooks["3.weight"].detach()[level - 1]) == pytest.approx(
            float(expected), abs=1e-6
        )


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="bits or levels"):
        training.share(network())
    with pytest.raises(ValueError, match="no parameter"):
        training.share(network(), bits=4, select="nothing")
