"""What calibration says of a network is true, and packing by it does what it promises."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.codec.calibration.record import Calibration, Moments, Sensed
from dcz.codec.calibration.sensitivity import Metric, metrics_of
from dcz.codec.decode import registry
from dcz.codec.encode import choice
from dcz.codec.share import error_feedback, uniform, uniform_per_row
from dcz.codec.wire.arrays import Member

torch = pytest.importorskip("torch")
nn = torch.nn


slow_without_c = pytest.mark.skipif(dcz.BACKEND != "c", reason="mixed contexts take minutes")


def mixed_inputs(count: int = 12, width: int = 24, seed: int = 0) -> list[Any]:
    """Inputs whose features are correlated and of different scale and mean."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(9)) / 4
    scale = torch.logspace(-1, 1, width)
    return [(torch.randn(8, width, generator=draw) @ mixing + 0.3) * scale for _ in range(count)]


def two_layers() -> Any:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(24, 96), nn.ReLU(), nn.Linear(96, 64))


def test_sensitivity_of_a_linear_layer_is_exact() -> None:
    model = nn.Linear(24, 5)
    single = [x[:1] for x in mixed_inputs()]
    found = dcz.calibration.collect(model, single)
    squares = torch.cat(single).square().mean(0).mean()
    np.testing.assert_allclose(found.tensors["weight"].rows, float(squares), rtol=1e-5)
    energy = torch.cat([model(x).detach() for x in single]).square().sum(1).mean()
    assert found.energy == pytest.approx(float(energy), rel=1e-5)


def test_predicted_error_of_a_linear_layer_is_the_real_one() -> None:
    model = nn.Linear(24, 5, bias=False)
    inputs = [x[:1] for x in mixed_inputs(60)]
    metric = metrics_of(dcz.calibration.collect(model, inputs), {"weight": (5, 24)})["weight"]
    change = torch.randn(5, 24, generator=torch.Generator().manual_seed(3)) / 10
    moved = torch.cat(inputs) @ change.T
    outputs = torch.cat([model(x) for x in inputs])
    real = float((moved.square().sum() / outputs.square().sum()).detach())
    assert metric.error(change.numpy().reshape(-1)) == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("dilation", "padding"), [(1, 0), (2, 1), (1, "same")])
def test_moments_of_a_convolution(groups: int, dilation: int, padding: Any) -> None:
    layer = nn.Conv2d(4, 8, 3, padding=padding, dilation=dilation, groups=groups)
    images = [torch.randn(6, 4, 9, 8)]
    found = dcz.calibration.collect(layer, images).moments[""]
    margin = {0: 0, 1: 1, "same": 1}[padding]
    patches = nn.functional.unfold(torch.cat(images), 3, dilation=dilation, padding=margin)
    rows = patches.transpose(1, 2).reshape(-1, groups, 36 // groups).double()
    expected = torch.einsum("pgi,pgj->gij", rows, rows) / len(rows)
    np.testing.assert_allclose(found.second(), expected, atol=2e-3)
    assert found.mean is not None
    np.testing.assert_allclose(found.mean, rows.mean(0), atol=1e-5)


def test_correlations_are_shrunk_as_far_as_inputs_are_few() -> None:
    def second(inputs: list[Any]) -> np.ndarray[Any, Any]:
        found = dcz.calibration.collect(nn.Linear(32, 4), inputs).moments[""].second()[0]
        return np.asarray(found)

    few = list(torch.randn(6, 4, 32, generator=torch.Generator().manual_seed(1)))
    rows = torch.cat(few).double().numpy()
    raw = rows.T @ rows / len(rows)
    assert np.linalg.norm(second(few) - np.eye(32)) < 0.5 * np.linalg.norm(raw - np.eye(32))
    np.testing.assert_allclose(np.diag(second(few)), np.diag(raw), rtol=1e-2)
    many = mixed_inputs(200, width=32)
    rows = torch.cat(many).double().numpy()
    raw = rows.T @ rows / len(rows)
    np.testing.assert_allclose(second(many), raw, atol=0.02 * np.abs(raw).max())


def test_layers_with_one_input_share_its_moments() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(24, 6), nn.Linear(24, 7), nn.Linear(6, 7)

        def forward(self, x: Any) -> Any:
            return self.c(self.a(x)) + self.b(x)

    found = dcz.calibration.collect(Twice(), mixed_inputs())
    assert {n: t.moments for n, t in found.tensors.items()} == {
        "a.weight": "a",
        "b.weight": "a",
        "c.weight": "c",
    }
    assert set(found.moments) == {"a", "c"}


def test_embedding_rows_that_were_not_seen_keep_a_share() -> None:
    model = nn.Sequential(nn.Embedding(40, 8), nn.Flatten(), nn.Linear(32, 5))
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 20, (4, 4), generator=draw) for _ in range(8)]
    batches[3][2, 1] = 30
    rows = dcz.calibration.collect(model, batches).tensors["0.weight"].rows
    assert rows[:20].mean() > 4 * rows[31:].mean() > 0


def test_rows_that_were_not_seen_count_as_those_around_them() -> None:
    model = nn.Sequential(nn.Embedding(8000, 4), nn.Flatten(), nn.Linear(8, 5))
    draw = torch.Generator().manual_seed(0)
    often, seldom = torch.arange(0, 4000, 2), torch.arange(4000, 8000, 20)
    used = torch.cat([often, often, seldom])[torch.randperm(4200, generator=draw)]
    rows = dcz.calibration.collect(model, list(used.reshape(-1, 20, 2))).tensors["0.weight"].rows
    assert rows[1:3000:2].mean() > 3 * rows[5001::2].mean() > 0


def test_an_embeddings_moments_are_those_of_the_gradients_to_its_rows() -> None:
    model = nn.Sequential(nn.Embedding(4000, 6), nn.Flatten(), nn.Linear(18, 1))
    batch = torch.randint(0, 4000, (9000, 3), generator=torch.Generator().manual_seed(3))
    found = dcz.calibration.collect(model, [batch])
    name = found.tensors["0.weight"].moments
    assert name is not None
    # Of a linear network with one output the gradients are sums of weights with random signs.
    signs = torch.randint(0, 2, (9000, 1), generator=torch.Generator().manual_seed(0)) * 2 - 1
    parts = model[2].weight.detach().double().reshape(3, 6).numpy()
    gradients = np.zeros((4000, 6))
    for sentence, sign in zip(batch.tolist(), signs[:, 0].tolist(), strict=True):
        for token, part in zip(sentence, parts, strict=True):
            gradients[token] += sign * part
    # Rows whose gradients cancel out may count or not: of the whole only the size hangs on it.
    total = gradients.T @ gradients / np.square(gradients).sum()
    second = found.moments[name].second()[0]
    second /= np.trace(second)
    np.testing.assert_allclose(np.diag(second), np.diag(total), rtol=2e-3)
    np.testing.assert_allclose(second, total, atol=1e-2 * total.max())  # a little is shrunk


def test_a_single_batch_tells_how_far_an_embeddings_moments_are_known() -> None:
    """Twelve gradients of 32 numbers, of which the directions are chance."""
    model = nn.Sequential(nn.Embedding(12, 32), nn.Flatten(), nn.Linear(32, 64))
    model[2].weight.data.normal_(generator=torch.Generator().manual_seed(4))
    found = dcz.calibration.collect(model, [torch.arange(12)[:, None]]).moments["0.weight"]
    weight = model[2].weight.detach().double().numpy()
    signs = torch.randint(0, 2, (12, 64), generator=torch.Generator().manual_seed(0)) * 2 - 1
    gradients = signs.double().numpy() @ weight
    truth = weight.T @ weight
    raw = gradients.T @ gradients / 12
    assert np.linalg.norm(found.second()[0] - truth) < 0.6 * np.linalg.norm(raw - truth)


def test_errors_in_an_embeddings_rows_make_up_for_each_other(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Embedding(500, 16), nn.Flatten(), nn.Linear(32, 3))
    draw = torch.Generator().manual_seed(6)
    inputs = [torch.randint(0, 500, (50, 2), generator=draw) for _ in range(40)]
    known = dcz.calibration.collect(model, inputs)
    errors = []
    for calibration in (known, dataclasses.replace(known, moments={})):
        recipe = dcz.Recipe(preset="balanced", target_size=5_000, calibration=calibration)
        dcz.save_file({n: t.numpy() for n, t in model.state_dict().items()}, tmp_path / "m", recipe)
        packed = copy.deepcopy(model)
        packed.load_state_dict(dcz.load_state_dict(tmp_path / "m"))
        with torch.no_grad():
            errors.append(sum(float((packed(x) - model(x)).square().mean()) for x in inputs))
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("first", ["embedding", "layer"])
def test_an_embedding_that_is_tied_to_a_layer_is_one_whatever_its_first_name(first: str) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in (first, *{"embedding", "layer"} - {first}):
                made = nn.Embedding(50, 6) if name == "embedding" else nn.Linear(6, 50, bias=False)
                setattr(self, name, made)
            self.embedding.weight.data.normal_(generator=torch.Generator().manual_seed(1))
            self.layer.weight = self.embedding.weight

        def forward(self, x: Any) -> Any:
            return self.layer(self.embedding(x)[:, 0])[:, :20]

    draw = torch.Generator().manual_seed(2)
    inputs = [torch.randint(0, 20, (9, 1), generator=draw) for _ in range(20)]
    found = dcz.calibration.collect(Tied(), inputs)
    for name in ("embedding.weight", "layer.weight"):
        assert found.tensors[name].moments == f"{first}.weight"
        rows = found.tensors[name].rows
        assert rows[:20].mean() > 2 * rows[20:].mean() > 0


def test_embeddings_of_no_rows_or_columns_are_packed_beside_others(tmp_path: Path) -> None:
    model = nn.ModuleDict({"none": nn.Embedding(0, 16), "thin": nn.Embedding(9, 0)})
    model["layer"] = nn.Linear(24, 16)
    model.forward = model["layer"].forward
    recipe = dcz.Recipe(calibration=dcz.calibration.collect(model, mixed_inputs()), max_error=1e-2)
    state = {n: t.numpy() for n, t in model.state_dict().items()}
    for preset in ("balanced", "max"):
        dcz.save_file(state, tmp_path / "m", dataclasses.replace(recipe, preset=preset))
        found = dcz.load_file(tmp_path / "m")
        assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in state.items()}


def test_an_output_that_no_matrix_has_a_part_in_is_refused() -> None:
    model = nn.Linear(24, 3)
    model.weight.data.zero_()
    with pytest.raises(dcz.InputError, match="depends on no tensor"):
        dcz.calibration.collect(model, [torch.zeros(4, 24)])


@pytest.mark.parametrize(("scale", "dtype"), [(1e38, np.float32), (1e25, np.float64)])
def test_errors_whose_squares_leave_float32_are_predicted(
    tmp_path: Path, scale: float, dtype: Any
) -> None:
    rng = np.random.default_rng(0)
    weights = (scale * rng.uniform(-2, 2, (64, 40))).astype(dtype)
    inputs = rng.standard_normal((200, 40))
    sensed = Sensed.of(weights, np.ones(64, np.float32), moments="x")
    moments = Moments.of((inputs.T @ inputs / 200)[None], None)
    calibration = Calibration({"w": sensed}, {"x": moments}, scale**2 * weights.size, 1)
    recipe = dcz.Recipe(preset="balanced", max_error=1e-2, calibration=calibration)
    report = dcz.save_file({"w": weights}, tmp_path / "w.dcz", recipe)
    assert report.output_error is not None
    assert 0.5e-2 < report.output_error <= 1e-2


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(24, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
    model[0].weight.requires_grad_(False)
    model[3].eval()
    model[3].weight.grad = torch.ones(3, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()

    def output(found: Any) -> Any:
        raise ZeroDivisionError

    dcz.calibration.collect(model, mixed_inputs())
    with pytest.raises(ZeroDivisionError):
        dcz.calibration.collect(model, mixed_inputs(), output=output)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [m.training for m in model] == [True, True, True, False]
    assert [p.requires_grad for p in model.parameters()] == [False] + 5 * [True]
    assert torch.equal(model[3].weight.grad, torch.ones(3, 8))
    assert model[0].weight.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_inputs_by_position_by_name_and_outputs_to_pick() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(24, 4)

        def forward(self, x: Any, scale: Any) -> dict[str, Any]:
            return {"count": torch.tensor(3), "out": self.layer(x) * scale}

    model, x, two = Named(), mixed_inputs(1)[0], torch.tensor(2.0)
    by_name = dcz.calibration.collect(model, [{"x": x, "scale": two}])
    by_place = dcz.calibration.collect(model, [(x, two)], output=lambda found: found["out"])
    assert by_name.energy == by_place.energy


def test_the_first_output_of_floating_point_counts() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(24, 4)

        def forward(self, x: Any) -> Any:
            out = self.layer(x)
            return "name", None, (torch.tensor(3), [out, 9 * out])

    model = Nested()
    nested = dcz.calibration.collect(model, mixed_inputs(1))
    plain = dcz.calibration.collect(model.layer, mixed_inputs(1))
    assert nested.energy == plain.energy


def test_random_inputs_are_like_the_example() -> None:
    example = {"x": torch.full((50, 40), 3.0) + torch.randn(50, 40), "n": torch.arange(5, 30)}
    (found, other) = dcz.calibration.random_inputs(example, 2)
    assert abs(float(found["x"].mean()) - 3) < 0.2
    assert int(found["n"].min()) >= 5
    assert int(found["n"].max()) <= 29
    assert not torch.equal(found["x"], other["x"])
    mask = torch.tensor([True, False])
    (found,) = dcz.calibration.random_inputs((mask, [torch.zeros(0, 3), 5]), 1)
    assert type(found) is tuple and type(found[1]) is list
    assert torch.equal(found[0], mask)
    assert (found[1][0].shape, found[1][1]) == ((0, 3), 5)


def test_fidelity() -> None:
    first, second = two_layers(), two_layers()
    inputs = mixed_inputs()
    same = dcz.calibration.fidelity(first, second, inputs)
    assert (same.cosine, same.agreement, same.error) == (pytest.approx(1), 1, 0)
    assert same.to_dict() == dataclasses.asdict(same)
    assert "agreement 1.000" in str(same) and "96 samples" in str(same)
    with torch.no_grad():
        second[2].weight.mul_(-1)
        second[2].bias.mul_(-1)
    opposite = dcz.calibration.fidelity(first, second, inputs)
    assert opposite.cosine == pytest.approx(-1)
    assert opposite.error == pytest.approx(4)
    assert opposite.samples == 96
    assert opposite.kl > 0
    assert opposite.kl_high >= opposite.kl


def moments_of(rows: np.ndarray[Any, Any]) -> Moments:
    second = rows.T @ rows / len(rows)
    return Moments.of(second[None], rows.mean(0)[None])


def test_factor_has_the_variances_that_are_left() -> None:
    rows = torch.cat(mixed_inputs(40)).double().numpy()
    metric = Metric(np.ones(3), moments_of(rows))
    assert metric.factors is not None
    (factor,) = metric.factors
    assert metric.second is not None
    second = metric.second[0].astype(np.float64)
    second = second[np.ix_(factor.order, factor.order)] + 0.01 * np.eye(24)
    left = [1 / np.linalg.inv(second[k:, k:])[0, 0] for k in range(24)]
    np.testing.assert_allclose(factor.variances, left, rtol=1e-6)


@pytest.mark.parametrize("pruned", [False, True])
def test_compensation_lowers_the_error_of_the_output(pruned: bool) -> None:
    draw = np.random.default_rng(0)
    rows = torch.cat(mixed_inputs(40)).double().numpy()
    metric = Metric(np.ones(60), moments_of(rows))
    weights = draw.standard_normal((60, 24)).astype(np.float32)
    mask = np.abs(weights) < 0.5 if pruned else None
    kept = weights if mask is None else np.where(mask, 0, weights)
    plain = uniform.quantize(kept.reshape(-1), weights.shape, 0.4)
    assert metric.factors is not None
    better = error_feedback.compensate(plain, weights, weights.shape, metric.factors, mask)
    errors = [
        metric.error((found.codebook[found.indices] - weights.reshape(-1)).astype(np.float32))
        for found in (plain, better)
    ]
    assert errors[1] < 0.8 * errors[0]
    if mask is not None:
        assert not better.codebook[better.indices][mask.reshape(-1)].any()


def test_singular_moments_are_damped() -> None:
    rows = np.zeros((50, 24))
    rows[:, :3] = np.random.default_rng(0).standard_normal((50, 1))
    metric = Metric(np.ones(4), moments_of(rows))
    assert metric.factors is not None
    assert np.isfinite(metric.factors[0].upper).all()


def test_moments_of_no_inputs_at_all_do_not_compensate() -> None:
    bad = Moments(
        np.ones((1, 2), np.float32), np.array([[1, 9, 1]], np.float16), np.zeros((1, 2), np.float32)
    )
    assert Metric(np.ones(4), bad).factors is None


def test_rows_with_steps_of_their_own_decode() -> None:
    draw = np.random.default_rng(0)
    values = draw.standard_normal((200, 64)).astype(np.float32)
    classes = (np.arange(200) % 3).astype(np.uint8)
    steps = (0.05, 0.2, 0.8)
    shared = uniform_per_row.quantize(
        values.reshape(-1), values.shape, steps, classes, values.dtype
    )
    frame = choice.encode(shared, values.shape)
    assert frame.coder == 4
    decoder = registry.open_frame(
        frame.coder, memoryview(frame.payload), [Member(values.dtype, values.size)]
    )
    out = np.empty(values.size, values.dtype)
    decoder.decode(0, values.size, out)
    np.testing.assert_array_equal(out, shared.codebook[shared.indices])
    errors = np.abs(out.reshape(values.shape) - values).max(axis=1)
    for number, step in enumerate(steps):
        assert 0.3 * step < errors[classes == number].max() < 1.5 * step


def test_row_classes_only_where_rows_differ() -> None:
    assert Metric(np.ones(1000)).row_classes(100_000) is None
    rows = np.repeat([1.0, 1 / 64], 500)
    found = Metric(rows).row_classes(100_000)
    assert found is not None
    assert found.classes.tolist() == [0] * 500 + [1] * 500
    assert found.importances[0] / found.importances[1] == pytest.approx(64)


def packed_error(model: Any, path: Path, inputs: list[Any]) -> float:
    copy = two_layers()
    copy.load_state_dict(dcz.load_state_dict(path))
    return float(dcz.calibration.fidelity(model, copy, inputs).error)


@pytest.mark.parametrize("preset", ["balanced", "paper"])
def test_a_calibrated_file_errs_less_at_equal_size(tmp_path: Path, preset: str) -> None:
    model = two_layers()
    with torch.no_grad():
        model[2].weight.mul_(20)
    calibration = dcz.calibration.collect(model, mixed_inputs(40))
    errors = []
    for known in (None, calibration):
        recipe = dcz.Recipe(preset=preset, target_size=4300, calibration=known)
        report = dcz.save_state_dict(model.state_dict(), tmp_path / "m.dcz", recipe)
        assert report.file_bytes <= 4300
        errors.append(packed_error(model, tmp_path / "m.dcz", mixed_inputs(40, seed=5)))
    assert errors[1] < 0.8 * errors[0]


def test_the_aim_is_the_predicted_error_of_the_output(tmp_path: Path) -> None:
    model, path = two_layers(), tmp_path / "m.dcz"
    recipe = dcz.Recipe(preset="balanced", max_error=1e-2)
    report = dcz.calibration.pack_model(model, mixed_inputs(60), path, recipe)
    assert report.output_error is not None
    assert 0.98e-2 < report.output_error <= 1e-2
    parts = [tensor.output_error or 0 for tensor in report.tensors]
    assert sum(parts) == pytest.approx(report.output_error)
    assert 0.3e-2 < packed_error(model, path, mixed_inputs(60, seed=5)) < 2e-2
    moved = [t.moved_bits for t in report.tensors if t.moved_bits is not None]
    assert len(moved) == 2
    assert report.unseen == ()


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("preset", ["balanced", pytest.param("max", marks=slow_without_c)])
@pytest.mark.parametrize("bound", [1e-7, 1e-9])
def test_an_aim_too_fine_for_steps_by_rows_is_kept(
    tmp_path: Path, bound: float, preset: str, known: bool
) -> None:
    """Half of the rows hardly count: steps for both kinds would be too far apart for one book."""
    draw = np.random.default_rng(0)
    weights = draw.standard_normal((400, 48)).astype(np.float32)
    rows = np.repeat([1.0, 2.0**-16], 200).astype(np.float32)
    moments = {"w": moments_of(draw.standard_normal((90, 48)))} if known else {}
    links = {"moments": "w"} if known else {}
    sensed = Sensed.of(weights, rows, **links)
    calibration = Calibration({"w": sensed}, moments, 1e4, 90)
    recipe = dcz.Recipe(preset=preset, max_error=bound, calibration=calibration)
    report = dcz.save_file({"w": weights}, tmp_path / "m.dcz", recipe)
    change = dcz.load_file(tmp_path / "m.dcz")["w"] - weights
    error = metrics_of(calibration, {"w": weights.shape})["w"].error(change.reshape(-1))
    assert error <= bound
    assert report.output_error == pytest.approx(error, rel=1e-3, abs=1e-15)


def test_biases_and_norms_take_up_the_shift_of_the_mean(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(4, 32, 3, bias=False), nn.BatchNorm1d(32), nn.Flatten(), nn.Linear(704, 16)
    )
    model[1].running_mean.normal_()
    inputs = [x[:, None, :] + torch.ones(1, 4, 1) for x in mixed_inputs(20)]
    source, path = tmp_path / "m.safetensors", tmp_path / "m.dcz"
    from safetensors.torch import save_file

    save_file(model.state_dict(), source)
    recipe = dcz.Recipe(preset="balanced", max_error=3e-2)
    calibration = dcz.calibration.collect(model, inputs)
    dcz.pack(source, path, dcz.Recipe(preset="balanced", max_error=3e-2, calibration=calibration))
    packed = dcz.load_state_dict(path)
    before = model.state_dict()
    x = torch.cat(inputs)
    made = [nn.functional.conv1d(x, w["0.weight"]).mean((0, 2)) for w in (before, packed)]
    shift = packed["1.running_mean"] - before["1.running_mean"]
    np.testing.assert_allclose(shift, made[1] - made[0], atol=1e-4)
    assert float(shift.abs().max()) > 1e-4
    hidden = model[:3].eval()(x).mean(0)
    owed = (before["3.weight"] - packed["3.weight"]) @ hidden
    np.testing.assert_allclose(packed["3.bias"] - before["3.bias"], owed.detach(), atol=1e-3)
    assert recipe.calibration is None
    from dcz.cli import main

    assert main(["verify", str(path), "--against", str(source)]) == 0


def convolutions() -> Any:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv1d(1, 24, 5, bias=False), nn.BatchNorm1d(24), nn.ReLU(),
        nn.Conv1d(24, 24, 5, bias=False), nn.BatchNorm1d(24), nn.ReLU(),
        nn.Flatten(), nn.Linear(24 * 16, 8),
    )  # fmt: skip
    model(torch.cat(mixed_inputs(40))[:, None])
    return model.eval()


def test_a_packed_model_has_the_originals_moments(tmp_path: Path) -> None:
    model, packed, path = convolutions(), convolutions(), tmp_path / "m.dcz"
    inputs = [x[:, None] for x in mixed_inputs(40)]
    recipe = dcz.Recipe(preset="balanced", max_error=0.05)
    report = dcz.pack_model(model, inputs, path, recipe)
    assert report.output_error is not None and report.output_error <= 0.05
    dcz.load_model(packed, path)
    x = torch.cat(inputs)
    for layers in (slice(0, 2), slice(0, 5), slice(0, 8)):
        made = [network[layers](x).transpose(0, 1).flatten(1) for network in (model, packed)]
        torch.testing.assert_close(made[0].mean(1), made[1].mean(1), rtol=1e-3, atol=1e-4)
        if layers.stop < 8:
            torch.testing.assert_close(made[0].var(1), made[1].var(1), rtol=1e-3, atol=1e-4)


def test_batches_are_joined_where_they_fit() -> None:
    from dcz.codec.calibration.inputs import joined

    a, b = torch.ones(2, 3), torch.zeros(1, 3)
    assert torch.equal(joined([a, b]), torch.cat([a, b]))
    assert torch.equal(joined([{"x": a}, {"x": b}])["x"], torch.cat([a, b]))
    assert torch.equal(joined([(a, b), (b, a)])[1], torch.cat([b, a]))
    assert joined([a, torch.zeros(1, 4)]) is None
    assert joined([(a, 5), (b, 5)]) is None
    assert joined([]) is None


def test_allocation_gives_equal_bytes_for_any_number_of_jobs(tmp_path: Path) -> None:
    rows = np.geomspace(1, 100, 64).astype(np.float32)
    arrays = {
        name: np.random.default_rng(n).standard_normal((64, 200)).astype(np.float32)
        for n, name in enumerate("abc")
    }
    tensors = {name: Sensed.of(array, rows) for name, array in arrays.items()}
    recipe = dcz.Recipe(
        preset="balanced", max_error=1e-3, calibration=Calibration(tensors, {}, 1e6, 1)
    )
    for jobs in (1, 2):
        dcz.save_file(arrays, tmp_path / f"{jobs}.dcz", recipe, jobs=jobs)
    assert (tmp_path / "1.dcz").read_bytes() == (tmp_path / "2.dcz").read_bytes()


def test_what_is_left_makes_up_for_what_was_pruned(tmp_path: Path) -> None:
    model, path, inputs = two_layers(), tmp_path / "m.dcz", mixed_inputs(60)
    known = dcz.calibration.collect(model, inputs)
    errors = []
    for moments in (known.moments, {}):
        found = dataclasses.replace(known, moments=moments)
        recipe = dcz.Recipe(preset="balanced", sparsity=0.5, target_size=5000, calibration=found)
        report = dcz.save_state_dict(model.state_dict(), path, recipe)
        assert sum(t.nonzero for t in report.tensors if len(t.shape) > 1) <= 0.51 * 8448
        errors.append(packed_error(model, path, mixed_inputs(60, seed=5)))
    assert errors[0] < 0.8 * errors[1]


def test_a_model_whose_inputs_do_not_join_is_packed_without_repair(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(24, 40)

        def forward(self, x: Any, scale: int) -> Any:
            return self.layer(x) * scale

    torch.manual_seed(0)
    model, inputs = Scaled(), [(x, 2) for x in mixed_inputs()]
    recipe = dcz.Recipe(preset="balanced", max_error=0.05)
    report = dcz.pack_model(model, inputs, tmp_path / "a.dcz", recipe)
    known = dcz.calibration.collect(model, inputs, tmp_path / "cal.safetensors")
    for calibration in (known, tmp_path / "cal.safetensors"):
        recipe = dataclasses.replace(recipe, calibration=calibration)
        other = dcz.save_state_dict(model.state_dict(), tmp_path / "b.dcz", recipe)
        assert (tmp_path / "b.dcz").read_bytes() == (tmp_path / "a.dcz").read_bytes()
        assert other.output_error == report.output_error
