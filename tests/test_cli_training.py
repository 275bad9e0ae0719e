"""Training checkpoints on the command line: what is packed, what is left out and how to get it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

import dcz
from dcz.cli import main
from dcz.codec.errors import InputError, RecipeError
from dcz.formats.checkpoints.prefixes import PlainNames, wrapper_prefix
from dcz.formats.checkpoints.registry import open_checkpoint

torch = pytest.importorskip("torch")

MODEL = {"w": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(3)}
AVERAGE = {"w": torch.ones(3, 4), "b": torch.ones(3)}
LOSSLESS = dcz.Recipe(quantizer="lossless")


@pytest.fixture
def training(tmp_path: Path) -> Path:
    saved = {
        "model": MODEL,
        "model_ema": AVERAGE,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2, 2)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 7,
        "args": argparse.Namespace(lr=0.1),
        "callbacks": {"EMA.of.weights": {"average": AVERAGE}},
        "unset": None,
    }
    torch.save(saved, tmp_path / "t.pt")
    return tmp_path / "t.pt"


def test_what_is_left_out_is_told(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(training)]) == 0
    out = capsys.readouterr().out
    assert "The tensors are those under the key model." in out
    assert "model_ema: dict of 2 with 2 tensors of 60 bytes; --key model_ema takes it" in out
    assert "optimizer: dict of 2 with 1 tensor of 16 bytes; --key optimizer takes it" in out
    assert "  epoch: 7\n" in out
    assert "args: argparse.Namespace, an object that was not made" in out
    assert "unset" not in out


def test_it_is_in_the_json_too(training: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("pack", "inspect"):
        assert main([command, str(training), "--json"]) == 0
        table = json.loads(capsys.readouterr().out)
        assert (table["key"], table["prefix"]) == ("model", "")
        keys = ["model_ema", "optimizer", "epoch", "args", "callbacks"]
        assert [part["key"] for part in table["left_out"]] == keys
        assert table["left_out"][0] == {
            "key": "model_ema",
            "what": "dict of 2",
            "tensors": 2,
            "nbytes": 60,
        }


def test_many_parts_are_counted_and_inspect_lists_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": MODEL} | {f"k{n}": n for n in range(30)}, tmp_path / "t.pt")
    assert main(["pack", str(tmp_path / "t.pt")]) == 0
    out = capsys.readouterr().out
    assert "and 18 more, which dcz inspect lists" in out and "k29" not in out
    assert main(["inspect", str(tmp_path / "t.pt")]) == 0
    assert "k29" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("model_ema", ["w", "b"]),
        ("callbacks.EMA.of.weights.average", ["w", "b"]),
        ("callbacks.EMA.of.weights", ["average.w", "average.b"]),
        ("optimizer", ["state.0.exp_avg"]),
        ("optimizer.state.0", ["exp_avg"]),
        ("model.w", ["tensor"]),
    ],
)
def test_key_chooses(training: Path, tmp_path: Path, key: str, names: list[str]) -> None:
    assert main(["pack", str(training), "--key", key, "-o", str(tmp_path / "m.dcz")]) == 0
    with dcz.open(tmp_path / "m.dcz") as archive:
        assert list(archive) == names
    arguments = ["verify", str(tmp_path / "m.dcz"), "--against", str(training), "--key", key]
    assert main(arguments) == 0
    with open_checkpoint(training, key=key) as checkpoint:
        told = {part.key for part in checkpoint.left_out}
        assert {"epoch", "args"} <= told and key not in told


@pytest.mark.parametrize(
    ("key", "cause"),
    [
        ("modle", "has no key 'modle'; it has model, model_ema, optimizer, epoch, args"),
        ("model.x", "has no key"),
        ("callbacks.EMA.x", "has no key"),
        ("epoch", "holds no tensors under the key 'epoch' but 7"),
    ],
)
def test_wrong_key_says_what_there_is(
    training: Path, key: str, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(training), "--key", key]) == 2
    assert cause in capsys.readouterr().err


def test_other_formats_have_no_keys(tmp_path: Path) -> None:
    dcz.save_file({}, tmp_path / "m.dcz")
    with pytest.raises(RecipeError, match="only files of PyTorch have keys"):
        open_checkpoint(tmp_path / "m.dcz", key="model")


def test_the_library_warns(training: Path, tmp_path: Path) -> None:
    left_out = "left out were model_ema, optimizer, epoch, args, callbacks$"
    with pytest.warns(UserWarning, match=left_out):
        dcz.pack(training, tmp_path / "m.dcz", LOSSLESS)
    with pytest.warns(UserWarning, match="left out were model,"):
        dcz.pack(training, tmp_path / "m.dcz", LOSSLESS, key="model_ema")
    assert dcz.load_file(tmp_path / "m.dcz")["b"].tolist() == [1, 1, 1]


PREFIXES = {
    "module.": (["module.a", "module.b.c"], "module."),
    "_orig_mod.": (["_orig_mod.a", "_orig_mod.b"], "_orig_mod."),
    "both": (["module._orig_mod.a", "module._orig_mod.b"], "module._orig_mod."),
    "not all": (["module.a", "b"], ""),
    "none": ([], ""),
}


@pytest.mark.parametrize("case", PREFIXES)
def test_prefix_of_all_names_is_found(case: str) -> None:
    names, prefix = PREFIXES[case]
    assert wrapper_prefix(names) == prefix


def wrapped(tmp_path: Path) -> Path:
    state: dict[str, Any] = {f"module._orig_mod.{name}": t for name, t in MODEL.items()}
    state["module._orig_mod.tied"] = state["module._orig_mod.w"]
    state["module._orig_mod.part._orig_mod.x"] = torch.ones(1)
    state["module._orig_mod.equal"] = MODEL["w"].clone()
    torch.save(state, tmp_path / "t.pt")
    return tmp_path / "t.pt"


def test_prefix_is_told_and_taken_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, packed = wrapped(tmp_path), tmp_path / "m.dcz"
    assert main(["inspect", str(path)]) == 0
    assert "start with module._orig_mod., which dcz pack --strip-prefix" in capsys.readouterr().out
    assert main(["pack", str(path), "--strip-prefix", "-o", str(packed)]) == 0
    with dcz.open(packed) as archive:
        assert list(archive) == ["w", "b", "tied", "part.x", "equal"]
        assert archive.ties == {"tied": "w"}
        assert archive["part.x"].tolist() == [1]
    assert main(["verify", str(packed), "--against", str(path), "--strip-prefix"]) == 0
    assert main(["verify", str(packed), "--against", str(path)]) == 1


def test_names_that_would_be_one_are_refused(tmp_path: Path) -> None:
    torch.save({"a._orig_mod.b": torch.ones(1), "a.b": torch.ones(1)}, tmp_path / "t.pt")
    with open_checkpoint(tmp_path / "t.pt") as checkpoint:
        with pytest.raises(InputError, match=r"'a\.b' without its prefix") as caught:
            PlainNames(checkpoint)
        assert caught.value.tensor == "a.b"


def test_load_model_takes_a_prefix_off_with_a_note(tmp_path: Path) -> None:
    model = torch.nn.Linear(4, 3)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    dcz.save_state_dict(state, tmp_path / "m.dcz", LOSSLESS)
    loaded = torch.nn.Linear(4, 3)
    with pytest.warns(UserWarning, match="prefixes of its names were taken off"):
        dcz.load_model(loaded, tmp_path / "m.dcz")
    assert torch.equal(loaded.weight, model.weight)
    with pytest.raises(RuntimeError, match=r"module\.weight"):
        dcz.load_model(torch.nn.Conv2d(1, 1, 1, bias=False), tmp_path / "m.dcz")


def test_load_model_leaves_a_wrapped_model_s_names(tmp_path: Path, recwarn: Any) -> None:
    model = torch.nn.DataParallel(torch.nn.Linear(4, 3))
    dcz.save_state_dict(model.state_dict(), tmp_path / "m.dcz", LOSSLESS)
    dcz.load_model(torch.nn.DataParallel(torch.nn.Linear(4, 3)), tmp_path / "m.dcz")
    assert not [found for found in recwarn if "prefixes" in str(found.message)]
