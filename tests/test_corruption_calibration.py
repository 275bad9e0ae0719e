"""A calibration that is wrong is refused with a reason, or what it lacks is done without."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.cli import main
from dcz.codec.calibration.record import Calibration, Moments, Sensed
from dcz.formats.pack.calibration_io import KEY, read_calibration, write_calibration

safetensors = pytest.importorskip("safetensors.numpy")

DRAW = np.random.default_rng(0)
ARRAYS = {
    "a.weight": DRAW.standard_normal((40, 30)).astype(np.float32),
    "a.bias": DRAW.standard_normal(40).astype(np.float32),
    "b.weight": DRAW.standard_normal((20, 40)).astype(np.float32),
}


def example() -> Calibration:
    rows = DRAW.standard_normal((90, 30))
    moments = Moments.of((rows.T @ rows / 90)[None], rows.mean(0)[None])
    a = Sensed.of(ARRAYS["a.weight"], np.ones(40, np.float32), moments="a", bias="a.bias")
    b = Sensed.of(ARRAYS["b.weight"], np.ones(20, np.float32))
    return Calibration({"a.weight": a, "b.weight": b}, {"a": moments}, 1e4, 90)


def rewritten(path: Path, change: Any) -> Path:
    """The example's file after a change of its arrays and of its header."""
    write_calibration(example(), path)
    arrays = safetensors.load_file(path)
    with safetensors_open(path) as file:
        header = json.loads(file.metadata()[KEY])
    change(arrays, header)
    safetensors.save_file(arrays, path, {KEY: json.dumps(header)})
    return path


def safetensors_open(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, "numpy")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cal.safetensors"
    first = example()
    write_calibration(first, path)
    second = read_calibration(path)
    assert (second.energy, second.samples) == (first.energy, first.samples)
    for name, sensed in first.tensors.items():
        found = second.tensors[name]
        assert dataclasses.replace(found, rows=sensed.rows) is not None
        assert (found.digest, found.shape, found.moments, found.bias) == (
            sensed.digest,
            sensed.shape,
            sensed.moments,
            sensed.bias,
        )
        np.testing.assert_array_equal(found.rows, sensed.rows)
    np.testing.assert_array_equal(second.moments["a"].second(), first.moments["a"].second())


def test_moments_without_a_mean_are_read_as_such(tmp_path: Path) -> None:
    path, known = tmp_path / "cal.safetensors", example()
    without = dataclasses.replace(known.moments["a"], mean=None)
    write_calibration(dataclasses.replace(known, moments={"a": without}), path)
    found = read_calibration(path).moments["a"]
    assert found.mean is None
    np.testing.assert_array_equal(found.second(), without.second())


def set_nan(arrays: Any, header: Any) -> None:
    arrays["correlation/a"][0, 3] = np.nan


def set_infinite_mean(arrays: Any, header: Any) -> None:
    arrays["mean/a"][0, 0] = np.inf


def set_negative(arrays: Any, header: Any) -> None:
    arrays["rows/b.weight"][0] = -1


def cut_correlation(arrays: Any, header: Any) -> None:
    arrays["correlation/a"] = arrays["correlation/a"][:, :-1].copy()


def drop_rows(arrays: Any, header: Any) -> None:
    del arrays["rows/b.weight"]


def drop_moments(arrays: Any, header: Any) -> None:
    for part in ("scale", "correlation", "mean"):
        del arrays[f"{part}/a"]


def other_version(arrays: Any, header: Any) -> None:
    header["version"] = 2


def no_energy(arrays: Any, header: Any) -> None:
    header["energy"] = 0


def no_tensors(arrays: Any, header: Any) -> None:
    del header["tensors"]


def nothing_sensed(arrays: Any, header: Any) -> None:
    for name in ("a", "b"):
        arrays[f"rows/{name}.weight"][:] = 0


def wrong_shape(arrays: Any, header: Any) -> None:
    header["tensors"]["a.weight"]["shape"] = [40, 31]


def cut_rows(arrays: Any, header: Any) -> None:
    arrays["rows/b.weight"] = arrays["rows/b.weight"][:-1].copy()


def other_inputs(arrays: Any, header: Any) -> None:
    header["tensors"]["b.weight"]["moments"] = "a"


def cut_mean(arrays: Any, header: Any) -> None:
    arrays["mean/a"] = arrays["mean/a"][:, :-1].copy()


CHANGES = [
    set_nan,
    set_infinite_mean,
    set_negative,
    cut_correlation,
    drop_rows,
    drop_moments,
    other_version,
    no_energy,
    no_tensors,
    nothing_sensed,
    wrong_shape,
    cut_rows,
    other_inputs,
    cut_mean,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_broken_calibration_is_refused(tmp_path: Path, change: Any) -> None:
    path = rewritten(tmp_path / "cal.safetensors", change)
    with pytest.raises(dcz.InputError) as caught:
        read_calibration(path)
    assert caught.value.file == str(path)


def test_a_checkpoint_is_no_calibration(tmp_path: Path) -> None:
    safetensors.save_file(ARRAYS, tmp_path / "m.safetensors")
    with pytest.raises(dcz.InputError, match="not a calibration"):
        read_calibration(tmp_path / "m.safetensors")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    recipe = dcz.Recipe(preset="balanced", calibration=example())
    changed = ARRAYS | {"b.weight": ARRAYS["b.weight"] + 1}
    with pytest.raises(dcz.InputError, match="other weights") as caught:
        dcz.save_file(changed, tmp_path / "m.dcz", recipe)
    assert caught.value.tensor == "b.weight"
    missing = {name: array for name, array in ARRAYS.items() if name != "b.weight"}
    with pytest.raises(dcz.InputError, match="the checkpoint does not"):
        dcz.save_file(missing, tmp_path / "m.dcz", recipe)
    reshaped = ARRAYS | {"b.weight": ARRAYS["b.weight"].reshape(40, 20)}
    with pytest.raises(dcz.InputError, match="not"):
        dcz.save_file(reshaped, tmp_path / "m.dcz", recipe)
    assert not (tmp_path / "m.dcz").exists()


@pytest.mark.parametrize(
    ("name", "array", "cause"),
    [
        ("c.bias", np.zeros(40, np.float32), "no such"),
        ("a.bias", np.zeros(41, np.float32), "no such"),
        ("a.bias", np.zeros(40, np.float64), "no such"),
        ("a.bias", np.full(40, np.nan, np.float32), "not finite"),
    ],
)
def test_repaired_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, array: np.ndarray[Any, Any], cause: str
) -> None:
    known = dataclasses.replace(example(), repaired={name: array})
    with pytest.raises(dcz.InputError, match=cause) as caught:
        dcz.save_file(ARRAYS, tmp_path / "m.dcz", dcz.Recipe(calibration=known))
    assert caught.value.tensor == name
    assert not (tmp_path / "m.dcz").exists()


def test_the_bias_of_weights_that_stay_exact_is_not_moved(tmp_path: Path) -> None:
    kept = [dcz.Rule(pattern="a.weight", quantizer="lossless")]
    moved = []
    for rules in ([], kept):
        recipe = dcz.Recipe(bits=2, calibration=example(), rules=rules)
        dcz.save_file(ARRAYS, tmp_path / "m.dcz", recipe)
        found = dcz.load_file(tmp_path / "m.dcz")
        moved.append(not np.array_equal(found["a.bias"], ARRAYS["a.bias"]))
    assert np.array_equal(found["a.weight"], ARRAYS["a.weight"])
    assert moved == [True, False]


def test_a_narrower_dtype_is_the_same_checkpoint(tmp_path: Path) -> None:
    half = {name: array.astype(np.float16) for name, array in ARRAYS.items()}
    tensors = {
        name: Sensed.of(half[name].astype(np.float32), sensed.rows)
        for name, sensed in example().tensors.items()
    }
    recipe = dcz.Recipe(preset="balanced", calibration=Calibration(tensors, {}, 1e4, 90))
    dcz.save_file(half, tmp_path / "m.dcz", recipe)


def test_what_calibration_does_not_know_counts_like_the_median(tmp_path: Path) -> None:
    extra = ARRAYS | {"c.weight": DRAW.standard_normal((50, 50)).astype(np.float32)}
    never = Sensed.of(ARRAYS["b.weight"], np.zeros(20, np.float32))
    known = example()
    known = dataclasses.replace(known, tensors={**known.tensors, "b.weight": never})
    recipe = dcz.Recipe(preset="balanced", max_error=1e-2, calibration=known)
    report = dcz.save_file(extra, tmp_path / "m.dcz", recipe)
    assert report.unseen == ("b.weight", "c.weight")
    errors = {tensor.name: tensor.relative_error for tensor in report.tensors}
    assert 0.2 < errors["b.weight"] / errors["c.weight"] < 5


def test_collecting_from_nothing_is_refused() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(4, 2)
    collect = dcz.calibration.collect
    with pytest.raises(dcz.InputError, match="no inputs"):
        collect(layer, [])
    with pytest.raises(dcz.InputError, match="not finite"):
        collect(layer, [torch.full((1, 4), torch.nan)])
    with pytest.raises(dcz.InputError, match="does not depend"):
        collect(layer, [torch.ones(1, 4)], output=lambda found: torch.ones(2, 2))
    with pytest.raises(dcz.InputError, match="no floating-point tensor"):
        collect(layer, [torch.ones(1, 4)], output=lambda found: found.long())
    with pytest.raises(dcz.InputError, match="no inputs"):
        dcz.calibration.fidelity(layer, layer, [])
    with pytest.raises(dcz.InputError, match="output is zero"):
        collect(layer, [torch.ones(1, 4)], output=lambda found: 0 * found)
    with pytest.raises(dcz.InputError, match="gradients are not finite"):
        collect(layer, [torch.ones(1, 4)], output=lambda found: 1 + (0 * found).sqrt())


@pytest.mark.parametrize(("more", "told"), [(1, "c0"), (5, "c0, c1, c2 and 2 more")])
def test_what_calibration_does_not_know_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: int, told: str
) -> None:
    source, known = tmp_path / "m.safetensors", tmp_path / "cal.safetensors"
    extra = {f"c{i}": DRAW.standard_normal((30, 30)).astype(np.float32) for i in range(more)}
    safetensors.save_file(ARRAYS | extra, source)
    write_calibration(example(), known)
    options = ["--preset", "balanced", "--calibration", str(known), "-o", str(tmp_path / "m.dcz")]
    assert main(["pack", str(source), *options]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Calibration saw no effect of {told}: treated like the median tensor." in shown


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, known = tmp_path / "m.safetensors", tmp_path / "cal.safetensors"
    safetensors.save_file(ARRAYS, source)
    write_calibration(example(), known)
    dest = str(tmp_path / "m.dcz")
    options = ["--preset", "balanced", "--max-error", "1e-2", "-o", dest]
    assert main(["pack", str(source), "--calibration", str(known), *options]) == 0
    shown = capsys.readouterr().out
    assert "predicted output error" in shown
    assert "moved by calibration" in shown
    assert main(["pack", str(source), "--calibration", str(known), *options, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert 0 < table["output_error"] <= 1e-2
    assert table["unseen"] == []
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'preset = "balanced"\nmax_error = 1e-2\ncalibration = "{known}"\n')
    again = str(tmp_path / "again.dcz")
    assert main(["pack", str(source), "--recipe", str(recipe), "-o", again, "--json"]) == 0
    assert Path(again).read_bytes() == Path(dest).read_bytes()
    assert main(["pack", str(source), "--calibration", str(source), *options]) == 3
    assert "not a calibration" in capsys.readouterr().err
    missing = str(tmp_path / "none")
    assert main(["pack", str(source), "--calibration", missing, *options]) == 4
