"""Nothing is erased in silence, whatever stands beside it, and scales do not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dcz
from dcz.codec.rate import recipe as recipes

Arrays = dict[str, npt.NDArray[Any]]
PRESETS = [name for name in recipes.PRESETS if name != "max" or dcz.BACKEND == "c"]


def normal(scale: float, *shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def weights(rows: int = 160, columns: int = 192) -> npt.NDArray[np.float32]:
    return normal(0.02, rows, columns)


def with_part(part: tuple[Any, ...], scale: float) -> npt.NDArray[np.float32]:
    """Weights, some of which are of another scale."""
    array = weights()
    array[part] = normal(scale, *array[part].shape, seed=1)
    return array


def causal(low: float, size: int = 64) -> npt.NDArray[np.float32]:
    return np.where(np.tri(size, dtype=bool), 0, low).astype(np.float32)


def sinusoids(length: int, width: int) -> npt.NDArray[np.float32]:
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


def grid(size: int, stride: int) -> npt.NDArray[np.float32]:
    places = (np.arange(size) + 0.5) * stride
    return np.stack(np.meshgrid(places, places), -1).astype(np.float32)


LOWEST = float(np.finfo(np.float32).min)
# What stands beside ordinary weights in checkpoints of real architectures.
BESIDE: dict[str, Callable[[], Arrays]] = {
    "causal mask of the lowest float": lambda: {"attn.mask": causal(LOWEST)},
    "causal mask of -1e9": lambda: {"attn.bias": causal(-1e9)},
    "causal mask of -inf": lambda: {"attn.causal": causal(-np.inf)},
    "window mask of 0 and -100": lambda: {"layers.0.attn_mask": causal(-100.0)},
    "masked bias": lambda: {"attn.masked_bias": np.full((1, 1), -1e4, np.float32)},
    "noisy mask": lambda: {"bias_of_scores": normal(1e9, 48, 48)},
    "grid positions up to 640": lambda: {"head.places": grid(40, 16)},
    "anchors in pixels": lambda: {"model.24.anchor_grid": normal(100, 3, 40, 2) + 200},
    "anchors by another name": lambda: {"boxes": np.round(normal(100, 900, 4) + 300)},
    "relative position index": lambda: {"idx": (np.arange(2401.0).reshape(49, 49) % 169 + 1e3)},
    "position numbers": lambda: {"position_ids": np.arange(512.0, dtype=np.float32)[None]},
    "sinusoids": lambda: {"pe": 30 * sinusoids(100, 64)},
    "rotary frequencies": lambda: {"freqs_cis": 1e4 * sinusoids(64, 32)},
    "running statistics in two dimensions": lambda: {"bn.running_var": 1e6 + normal(1e5, 64, 1)},
    "logit scale": lambda: {"logit_scale": np.full((1, 1), 4.6e3, np.float32)},
    "class token": lambda: {"cls_token": normal(50, 1, 1, 192)},
    "register tokens": lambda: {"register_tokens": normal(50, 1, 4, 192)},
    "absolute position embedding": lambda: {"pos_embed": normal(20, 1, 50, 64)},
    "relative position biases": lambda: {"relative_position_bias_table": normal(9, 169, 6)},
    "group scales": lambda: {"weight.scales": np.abs(normal(1e3, 64, 8))},
    "mel filters": lambda: {"mel_filters": 1e5 * np.abs(sinusoids(80, 64))},
    "constant": lambda: {"temperature": np.full((20, 20), 3e7, np.float32)},
    "a layer of another scale": lambda: {"large.weight": normal(1, 128, 128)},
    "a layer before a normalisation": lambda: {"scaled.weight": normal(1e12, 96, 96)},
    "a layer of tiny scale": lambda: {"tiny.weight": normal(1e-12, 96, 96)},
    "a low-rank adapter": lambda: {
        "lora_A.weight": normal(1e-3, 8, 160),
        "lora_B.weight": normal(1e-3, 160, 8),
    },
    "an embedding with a few long rows": lambda: {
        "embed.weight": normal(1, 300, 64) * np.where(np.arange(300) < 3, 500, 1)[:, None]
    },
    "values in 5 to 6": lambda: {"gate": 5 + np.abs(np.sin(normal(9, 80, 80)))},
    "half precision": lambda: {"half.weight": normal(1e3, 80, 80).astype(np.float16)},
    "bfloat16": lambda: {"brain.weight": normal(1e30, 80, 80).astype(ml_dtypes.bfloat16)},
}
# Weights whose energy is that of a part of them: what is left must come back as well.
INSIDE = {
    "a row": (np.s_[7], 50.0),
    "three rows": (np.s_[7:10], 50.0),
    "a column": (np.s_[:, 7], 50.0),
    "a weight": (np.s_[3:4, 5:6], 1e7),
    "weights here and there": (np.s_[::40, ::48], 1e4),
}


def relative(original: npt.NDArray[Any], decoded: npt.NDArray[Any]) -> float:
    """Squared error over the spread about the mean."""
    wide = original.astype(np.float64)
    apart = wide - decoded.astype(np.float64)
    return float(np.sum(apart**2) / np.sum((wide - wide.mean()) ** 2))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("beside", BESIDE)
def test_what_stands_beside_weights_does_not_erase_them(
    tmp_path: Path, preset: str, beside: str
) -> None:
    tensors: Arrays = {"layer.weight": weights(), **BESIDE[beside]()}
    tensors = {name: np.asarray(array) for name, array in tensors.items()}
    report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(preset=preset))
    decoded = dcz.load_file(tmp_path / "x.dcz")
    assert relative(tensors["layer.weight"], decoded["layer.weight"]) < 5e-3
    for name, array in tensors.items():
        if report.exact.get(name):
            assert decoded[name].tobytes() == array.tobytes()
        elif array.ndim > 1:
            assert relative(array, decoded[name]) < 0.03


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("inside", INSIDE)
def test_large_weights_do_not_erase_those_around_them(
    tmp_path: Path, preset: str, inside: str
) -> None:
    place, scale = INSIDE[inside]
    array = with_part((place,) if not isinstance(place, tuple) else place, scale)
    others = np.ones(array.shape, bool)
    others[place] = False
    dcz.save_file({"w": array}, tmp_path / "x.dcz", dcz.Recipe(preset=preset))
    decoded = dcz.load_file(tmp_path / "x.dcz")["w"]
    assert relative(array[others], decoded[others]) < 3e-3
    if inside in ("a weight", "weights here and there"):
        assert np.array_equal(decoded[~others], array[~others])
    else:
        assert relative(array[~others], decoded[~others]) < 3e-3


@pytest.mark.parametrize("preset", PRESETS)
def test_the_error_of_the_layers_is_the_mean_of_their_relative_errors(
    tmp_path: Path, preset: str
) -> None:
    # Of equal size and no known role, all count alike.
    tensors: Arrays = {f"{i}.weight": normal(10.0**i, 100, 120, seed=i + 4) for i in range(-4, 4)}
    recipe = dcz.Recipe(preset=preset, max_error=2e-3)
    report = dcz.save_file(tensors, tmp_path / "x.dcz", recipe)
    decoded = dcz.load_file(tmp_path / "x.dcz")
    errors = {name: relative(array, decoded[name]) for name, array in tensors.items()}
    assert report.counted_error == pytest.approx(np.mean(list(errors.values())), rel=1e-9)
    assert 0.96 * 2e-3 <= report.counted_error <= 2e-3
    assert report.lost == pytest.approx(errors, rel=1e-9)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_tensor_loses_much_more_than_the_model(tmp_path: Path, preset: str) -> None:
    tensors: Arrays = {"wide.weight": normal(0.1, 900, 400)}
    tensors |= {f"{i}.weight": normal(0.1, 12, 10, seed=i) for i in range(200)}
    recipe = dcz.Recipe(preset=preset, max_error=1e-3)
    report = dcz.save_file(tensors, tmp_path / "x.dcz", recipe)
    assert max(report.lost.values()) <= 30 * 1e-3


@pytest.mark.parametrize("name", ["embed_tokens.weight", "lm_head.weight"])
def test_a_layer_of_words_counts_for_a_third(tmp_path: Path, name: str) -> None:
    tensors: Arrays = {name: normal(1, 3000, 16), "a.weight": normal(1, 60, 60, seed=1)}
    report = dcz.save_file(tensors, tmp_path / "x.dcz", dcz.Recipe(max_error=1e-2))
    assert report.counted_error is not None
    expected = (report.lost[name] + 2 * report.lost["a.weight"]) / 3
    assert report.counted_error == pytest.approx(expected, rel=1e-9)


def test_tensors_named_by_a_rule_are_weights_whatever_they_look_like(tmp_path: Path) -> None:
    mask = np.abs(normal(1, 60, 60))
    rule = dcz.Rule(pattern="*mask", quantizer="grid")
    for rules, exact in (((), True), ((rule,), False)):
        report = dcz.save_file({"mask": mask}, tmp_path / "x.dcz", dcz.Recipe(rules=rules))
        assert ("mask" in report.exact) == exact
        decoded = dcz.load_file(tmp_path / "x.dcz")["mask"]
        assert np.array_equal(decoded, mask) == exact


@st.composite
def models(draw: st.DrawFn) -> Arrays:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds: list[Callable[[tuple[int, int]], npt.NDArray[Any]]] = [
        lambda shape: generator.normal(size=shape),
        lambda shape: generator.laplace(size=shape),
        lambda shape: generator.standard_t(2, shape),
        lambda shape: generator.uniform(5, 6, shape),
        lambda shape: generator.normal(size=shape) * (generator.random(shape) < 0.2),
        lambda shape: generator.normal(size=shape) * generator.lognormal(0, 2, (shape[0], 1)),
        lambda shape: np.round(generator.normal(size=shape) * 50),
    ]
    tensors: Arrays = {}
    for number in range(draw(st.integers(2, 4))):
        shape = (draw(st.integers(2, 60)), draw(st.sampled_from([3, 40, 130])))
        array = draw(st.sampled_from(kinds))(shape) * 10.0 ** draw(st.integers(-3, 3))
        tensors[f"{number}.weight"] = np.asarray(array, np.float32)
    return tensors


AIMS = (
    {"max_error": 1e-3},
    {"max_error": 0.05},
    {"preset": "paper", "max_error": 3e-3},
    {"bits": 3},
    {"bits": 4, "sparsity": 0.6},
    {"sparsity": 0.7, "max_error": 1e-2},
    *([{"preset": "max", "max_error": 1e-2, "states": 8}] if dcz.BACKEND == "c" else []),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(tensors=models(), octaves=st.integers(-20, 20), aim=st.sampled_from(AIMS), data=st.data())
def test_a_power_of_two_on_a_tensor_changes_nothing_else(
    tmp_path: Path, tensors: Arrays, octaves: int, aim: dict[str, Any], data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(sorted(tensors)))
    factor = np.float32(2.0**octaves)
    scaled = {n: a * factor if n == chosen else a for n, a in tensors.items()}
    found = []
    for model in (tensors, scaled):
        dcz.save_file(model, tmp_path / "x.dcz", dcz.Recipe(**aim))
        found.append(dcz.load_file(tmp_path / "x.dcz"))
    before, after = found
    for name in tensors:
        expected = before[name] * factor if name == chosen else before[name]
        assert after[name].tobytes() == expected.tobytes(), name
