"""The samples' networks lose units, and get zeros back for them, without calculating otherwise."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import dcz

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytest.importorskip("rich")

SAMPLES = Path(__file__).parents[1] / "samples"
WIDTHS = {"lenet5": (8, 12, 20), "lenet-300-100": (30, 20)}
SURVIVORS = {"lenet5": 800, "lenet-300-100": 4000}
PARAMETERS = {"lenet5": 431_080, "lenet-300-100": 266_610}


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    monkeypatch.syspath_prepend(SAMPLES)
    names = ("networks", "chain", "prices", "loops", "teachers", "settings", "best", "train_mnist")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def sparse(samples: SimpleNamespace, name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network = samples.chain.build(name, WIDTHS[name])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= torch.rand_like(parameter) < 0.2
        masks = {key: p != 0 for key, p in network.named_parameters()}
        masks = samples.chain.drop_dead(name, masks)
        for key, parameter in network.named_parameters():
            parameter *= masks[key]
    return network


@pytest.mark.parametrize("name", WIDTHS)
def test_full_networks_are_those_of_the_paper(samples: SimpleNamespace, name: str) -> None:
    network = samples.networks.NETWORKS[name](0.0, 0.0)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", WIDTHS)
def test_narrowing_and_widening_change_nothing(samples: SimpleNamespace, name: str) -> None:
    network = sparse(samples, name)
    small = samples.chain.narrow(name, network)
    full = samples.chain.widen(name, small)
    digits = torch.rand(16, 784)
    wanted = network(digits)
    torch.testing.assert_close(small(digits), wanted)
    torch.testing.assert_close(full(digits), wanted)
    nonzero = {int(sum((p != 0).sum() for p in n.parameters())) for n in (network, small, full)}
    assert len(nonzero) == 1
    assert sum(p.numel() for p in full.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", WIDTHS)
def test_dead_units_change_nothing_but_biases(samples: SimpleNamespace, name: str) -> None:
    network = samples.chain.build(name, WIDTHS[name])
    first = samples.chain.LAYERS[name][0].name
    masks = {key: torch.ones_like(p, dtype=torch.bool) for key, p in network.named_parameters()}
    masks[f"{first}.weight"][3] = False
    found = samples.chain.drop_dead(name, masks)
    second = samples.chain.LAYERS[name][1]
    assert not found[f"{first}.bias"][3]
    assert not second.view(found[f"{second.name}.weight"])[:, 3].any()
    assert second.view(found[f"{second.name}.weight"])[:, :3].all()


@pytest.mark.parametrize("name", WIDTHS)
def test_the_cheapest_weights_go(samples: SimpleNamespace, name: str) -> None:
    network = sparse(samples, name)
    weights = {key: p.detach() for key, p in network.named_parameters()}
    masks = {key: p != 0 for key, p in weights.items()}
    squares = {key: torch.rand_like(p) for key, p in weights.items()}
    alive = sum(int(mask.sum()) for mask in masks.values())
    kept = samples.prices.cheapest(name, weights, squares, masks, alive // 2)
    left = sum(int(mask.sum()) for mask in kept.values())
    assert alive // 4 < left <= alive // 2
    assert not any((kept[key] & ~masks[key]).any() for key in kept)
    loss = {key: w.square() * squares[key] for key, w in weights.items()}
    lost = sum(float((loss[key] * ~kept[key]).sum()) for key in loss)
    assert lost < 0.25 * sum(float(values.sum()) for values in loss.values())


def test_augmented_digits_stay_digits(samples: SimpleNamespace) -> None:
    digits = samples.loops.Digits(torch.rand(5, 784), torch.arange(5))
    still = samples.loops.augmented(digits, torch.Generator().manual_seed(0), 0.0)
    torch.testing.assert_close(still.images, digits.images, atol=1e-5, rtol=1e-4)
    moved = samples.loops.augmented(digits, torch.Generator().manual_seed(0))
    assert moved.images.shape == (5, 784)
    assert (moved.images >= 0).all()
    assert not torch.allclose(moved.images, digits.images, atol=0.1)


@pytest.mark.parametrize("name", WIDTHS)
def test_the_best_recipe_leaves_few_values_that_pack_without_loss(
    samples: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    digits, lessons = blobs(samples)
    monkeypatch.setenv("DCZ_SAMPLE_CACHE", str(tmp_path))
    monkeypatch.setattr(samples.teachers, "lessons", lambda *_: lessons)
    train = samples.settings.Segment(15, 4e-3, 2.0, 0.5)
    settings = samples.settings.Settings(
        WIDTHS[name], 16, (train, replace(train, survivors=SURVIVORS[name])), train, 2.0
    )
    monkeypatch.setitem(samples.settings.SETTINGS["best"], name, settings)
    network, _ = samples.best.compress("best", name, 1, digits, digits)
    assert sum(int((p != 0).sum()) for p in network.parameters()) <= SURVIVORS[name]
    assert samples.loops.error_rate(network, digits) < 0.2
    monkeypatch.setattr(samples.best.Trainer, "prune", pytest.fail)  # its segments are stored
    again, _ = samples.best.compress("best", name, 1, digits, digits)
    for key, tensor in network.state_dict().items():
        assert torch.equal(again.get_parameter(key), tensor)
    # Mixed contexts of a whole network take plain Python minutes.
    preset = "max" if dcz.BACKEND == "c" else "paper"
    samples.train_mnist.pack(network, tmp_path / "packed.dcz", preset)
    packed = samples.train_mnist.unpacked(name, tmp_path / "packed.dcz").state_dict()
    for key, tensor in network.state_dict().items():
        assert torch.equal(packed[key], tensor)


def blobs(samples: SimpleNamespace) -> tuple[object, object]:
    """Ten classes that are easy to tell apart, and lessons on them."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(192) % 10
    centres = torch.rand(10, 1, 7, 7, generator=generator)
    centres = torch.nn.functional.interpolate(centres, scale_factor=4).reshape(10, 784)
    noise = 0.1 * torch.rand(192, 784, generator=generator)
    images = ((0.9 * centres[labels] + noise) * 256).floor() / 256
    logits = 8.0 * torch.nn.functional.one_hot(labels, 10)
    copies, copy_logits = (images * 256).to(torch.uint8)[None], logits.half()[None]
    digits = samples.loops.Digits(images, labels, logits)
    return digits, samples.teachers.Lessons(digits, copies, copy_logits)
