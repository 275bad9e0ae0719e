"""A training checkpoint packed with everything comes back, and training goes on as before."""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.cli import main
from dcz.codec.errors import CorruptError, InputError, RecipeError
from dcz.formats.checkpoints.pytorch.structure import STRUCTURE_KEY, EverythingCheckpoint

torch = pytest.importorskip("torch")
nn = torch.nn

LOSSLESS = dcz.Recipe(quantizer="lossless")


def network() -> Any:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 4))
    return model.to(memory_format=torch.channels_last)


def trainer(model: Any) -> tuple[Any, Any]:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, amsgrad=True)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def train(model: Any, optimizer: Any, scheduler: Any, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        images = torch.randn(5, 2, 5, 5).contiguous(memory_format=torch.channels_last)
        nn.functional.cross_entropy(model(images), torch.randint(4, (5,))).backward()
        optimizer.step()
        scheduler.step()


def saved(model: Any, optimizer: Any, scheduler: Any) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "numpy_rng": np.random.RandomState(3).get_state(),
        "epoch": 3,
        "args": argparse.Namespace(lr=1e-2, sizes=(1, 2)),
    }


def resumed(path: Path, steps: int) -> tuple[Any, Any]:
    """What training on from a file ends in."""
    content = torch.load(path, weights_only=False)
    model = network()
    optimizer, scheduler = trainer(model)
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    scheduler.load_state_dict(content["scheduler"])
    torch.set_rng_state(content["rng"])
    train(model, optimizer, scheduler, steps)
    return model.state_dict(), optimizer.state_dict()


def same(first: Any, second: Any) -> None:
    """Compare values of any depth, tensors bit for bit and with their layout."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        assert (first.dtype, first.shape) == (second.dtype, second.shape)
        assert first.stride() == second.stride()
        assert first.requires_grad == second.requires_grad
        flat = [tensor.detach().contiguous().reshape(-1) for tensor in (first, second)]
        assert bytes(flat[0].view(torch.uint8)) == bytes(flat[1].view(torch.uint8))
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype and first.tobytes() == second.tobytes()
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            same(one, other)
    elif isinstance(first, float):
        assert first == second or (math.isnan(first) and math.isnan(second))
        assert math.copysign(1, first) == math.copysign(1, second)
    elif isinstance(first, complex):
        assert repr(first) == repr(second)
    elif isinstance(first, argparse.Namespace):
        same(vars(first), vars(second))
    else:
        assert first == second


def there_and_back(tmp_path: Path, value: Any) -> Any:
    torch.save(value, tmp_path / "t.pt")
    dcz.pack_everything(tmp_path / "t.pt", tmp_path / "t.dcz", LOSSLESS)
    dcz.unpack(tmp_path / "t.dcz", tmp_path / "back.pt")
    return torch.load(tmp_path / "back.pt", weights_only=False)


def test_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    model = network()
    optimizer, scheduler = trainer(model)
    train(model, optimizer, scheduler, 4)
    value = saved(model, optimizer, scheduler)
    same(value, there_and_back(tmp_path, value))
    expected = resumed(tmp_path / "t.pt", 5)
    same(expected, resumed(tmp_path / "back.pt", 5))
    # Another start would have ended elsewhere, so that the comparison can fail.
    train(model, optimizer, scheduler, 1)
    torch.save(saved(model, optimizer, scheduler), tmp_path / "later.pt")
    with pytest.raises(AssertionError):
        same(expected, resumed(tmp_path / "later.pt", 5))


def test_command_line_takes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    optimizer, scheduler = trainer(model)
    train(model, optimizer, scheduler, 2)
    value = saved(model, optimizer, scheduler) | {"when": datetime.datetime(2026, 1, 1)}
    source, packed, back = (str(tmp_path / name) for name in ("t.pt", "t.dcz", "back.pt"))
    torch.save(value, source)
    assert main(["pack", source, "--everything", "--bits", "4"]) == 0
    out = capsys.readouterr().out
    assert "when: datetime.datetime, an object that was not made" in out and "optimizer:" not in out
    assert main(["verify", packed, "--against", source, "--everything"]) == 0
    assert main(["unpack", packed, "-o", back]) == 0
    found = torch.load(back, weights_only=False)
    assert list(found) == [name for name in value if name != "when"]
    # Only the model is shared: the optimizer and the rest are exact.
    same({n: value[n] for n in list(value)[1:-1]}, {n: found[n] for n in list(found)[1:]})
    weight = found["model"]["3.weight"]
    assert len(weight.unique()) <= 17 < len(model[3].weight.unique())
    assert main(["inspect", packed]) == 0
    assert "kept: unpack to .pt for everything" in capsys.readouterr().out


def test_rules_give_the_optimizer_an_aim_of_its_own(tmp_path: Path) -> None:
    model = network()
    optimizer, scheduler = trainer(model)
    train(model, optimizer, scheduler, 2)
    torch.save(saved(model, optimizer, scheduler), tmp_path / "t.pt")
    rule = dcz.Rule(pattern="optimizer.*.exp_avg", quantizer="kmeans", bits=3)
    recipe = dcz.Recipe(quantizer="lossless", rules=[rule])
    dcz.pack_everything(tmp_path / "t.pt", tmp_path / "t.dcz", recipe)
    with dcz.open(tmp_path / "t.dcz") as archive:
        assert not archive.is_exact(_largest(archive))
        assert archive.is_exact(_largest(archive).replace("exp_avg", "exp_avg_sq"))


def _largest(archive: Any) -> str:
    names = [name for name in archive if name.endswith(".exp_avg")]
    return max(names, key=lambda name: archive.info(name).numel)


PLAIN: dict[str, Any] = {
    "none": None,
    "numbers": [0, -1, 2**53, 2**53 + 1, -(2**200), True, 1.5, -0.0, math.nan, math.inf, -math.inf],
    "complex": [1 + 2j, complex(math.nan, math.inf), complex(-0.0, -1)],
    "text": ["", "ä\n\0", "\ud800"],
    "bytes": [b"", b"\0\xff", bytes(range(256)) * 40, bytearray(b"abc")],
    "tuples": ((), (1,), (1, (2, [3])), [(), []]),
    "sets": [set(), {1, "a", (2, 3)}, frozenset({None})],
    "dicts": {1: "a", "1": "b", (1, "x"): {}, None: [], 2.5: 1, b"k": 3},
    "ordered": collections.OrderedDict([("b", 1), ("a", collections.OrderedDict())]),
    "default": collections.defaultdict(list, {"a": [1]}),
    "default of nothing": collections.defaultdict(None, {"a": 1}),
    "size": torch.Size([2, 3]),
    "devices": [torch.device("cpu"), torch.device("cuda", 1)],
    "dtypes": [torch.float32, torch.bfloat16, torch.int8, torch.bool],
    "scalars": [np.float32(1.1), np.int64(-7), np.bool_(True), np.float64("nan"), np.uint8(3)],
    "arrays": [np.arange(6).reshape(2, 3), np.ones(2, np.float16), np.array(3.5), np.zeros(0)],
    "namespace": argparse.Namespace(a=1, b=argparse.Namespace(c=[2])),
    "parameter": torch.nn.Parameter(torch.ones(2), requires_grad=False),
    "gradients": [torch.ones(2, requires_grad=True), torch.nn.Parameter(torch.ones(1))],
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "masks": {"w_orig": torch.ones(2), "w_mask": torch.tensor([0.0, 1.0])},
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_come_back(tmp_path: Path, name: str) -> None:
    value = {"model": {"w": torch.ones(2)}, "other": PLAIN[name]}
    found = there_and_back(tmp_path, value)
    expected = value["other"]
    if name == "bytes":  # PyTorch's pickles have bytearrays as what they are
        found["other"] = [bytes(item) for item in found["other"]]
        expected = [bytes(item) for item in expected]
    same(expected, found["other"])
    if name == "default":
        assert found["other"].default_factory is list


def test_ties_and_versions_come_back(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 5, bias=False))
    model[2].weight = model[0].weight
    found = there_and_back(tmp_path, {"model": model.state_dict(), "epoch": 1})["model"]
    assert found["0.weight"].data_ptr() == found["2.weight"].data_ptr()
    assert found._metadata == model.state_dict()._metadata


@pytest.mark.filterwarnings("ignore:.*left out were")
def test_a_module_becomes_its_state_dict(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    found = there_and_back(tmp_path, {"model": model, "epoch": 1})
    same(dict(model.state_dict()), dict(found["model"]))


def test_what_can_t_be_given_back_is_told(tmp_path: Path) -> None:
    value = {
        "model": {"w": torch.ones(2)},
        "when": datetime.date(2026, 1, 1),
        "list": [1, datetime.date(2026, 1, 1)],
        "factory": collections.defaultdict(datetime.date, {"a": 1}),
        "text": np.array(["a"]),
        datetime.date: 3,
        (datetime.date,): 4,
        2**70: 5,
        "held": argparse.Namespace(tensor=torch.ones(3), when=datetime.date(2026, 1, 1)),
    }
    told = r"left out were when, list\.1, factory\.default_factory, text, datetime\.date, datetime"
    with pytest.warns(UserWarning, match=told):
        found = there_and_back(tmp_path, value)
    assert found["list"] == [1, None] and found["factory"]["a"] == 1
    assert vars(found["held"]).keys() == {"tensor"}
    assert list(found) == ["model", "list", "factory", 2**70, "held"]


def test_other_files_and_options_are_refused(tmp_path: Path) -> None:
    dcz.save_file({"w": np.ones(2)}, tmp_path / "m.dcz")
    with pytest.raises(RecipeError, match="only files of PyTorch"):
        dcz.pack_everything(tmp_path / "m.dcz", tmp_path / "n.dcz")
    torch.save({"w": torch.ones(2)}, tmp_path / "m.pt")
    assert main(["pack", str(tmp_path / "m.pt"), "--everything", "--key", "w"]) == 2
    with pytest.warns(DeprecationWarning):
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "s.pt")
    with pytest.raises(InputError, match="TorchScript"):
        dcz.pack_everything(tmp_path / "s.pt", tmp_path / "n.dcz")
    endless: list[Any] = []
    endless.append(endless)
    torch.save(endless, tmp_path / "e.pt")
    with pytest.raises(InputError, match="without an end"):
        EverythingCheckpoint(tmp_path / "e.pt")
    torch.save({1: torch.ones(1), "1": torch.ones(2)}, tmp_path / "t.pt")
    with pytest.raises(InputError, match="two tensors have this name"):
        EverythingCheckpoint(tmp_path / "t.pt")


def test_other_formats_get_the_tensors(tmp_path: Path) -> None:
    value = {"model": {"w": torch.arange(3.0)}, "optimizer": {"state": {0: {"m": torch.ones(2)}}}}
    there_and_back(tmp_path, value)
    dcz.unpack(tmp_path / "t.dcz", tmp_path / "t.safetensors")
    # The structure went along: packed again it is still there.
    dcz.pack(tmp_path / "t.safetensors", tmp_path / "again.dcz", LOSSLESS)
    dcz.unpack(tmp_path / "again.dcz", tmp_path / "again.pt")
    same(value, torch.load(tmp_path / "again.pt", weights_only=False))


DAMAGED: dict[str, Any] = {
    "no JSON": "{",
    "unknown kind": {"system": "true"},
    "two kinds": {"tuple": [], "list": []},
    "no kind": {},
    "unknown tensor": {"tensor": "x"},
    "no name": {"tensor": {"parameter": True}},
    "list as a key": {"dict": [[[], 1]]},
    "no pairs": {"dict": 7},
    "unknown factory": {"defaultdict": ["eval", []]},
    "unknown name": {"torch": "load"},
    "unknown device": {"device": ["moon"]},
    "unknown scalar": {"scalar": ["object", "AAAA"]},
    "short scalar": {"scalar": ["float32", "AAAA"]},
    "gradient of integers": {"tensor": {"name": "i", "requires_grad": True}},
    "strides with holes": {"tensor": {"name": "w", "strides": [1000000, 1]}},
    "strides of others": {"tensor": {"name": "w", "strides": [1]}},
    "deep": None,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_structure_is_an_error(tmp_path: Path, kind: str) -> None:
    text = DAMAGED[kind] if isinstance(DAMAGED[kind], str) else json.dumps(DAMAGED[kind])
    if kind == "deep":
        text = "[" * 100_000 + "]" * 100_000
    tensors = {"w": np.ones((2, 3)), "i": np.arange(3)}
    dcz.save_file(tensors, tmp_path / "m.dcz", LOSSLESS, notes={STRUCTURE_KEY: text})
    with pytest.raises(CorruptError, match="the kept structure is damaged") as caught:
        dcz.unpack(tmp_path / "m.dcz", tmp_path / "m.pt")
    assert caught.value.file == str(tmp_path / "m.dcz")
    assert not (tmp_path / "m.pt").exists()
