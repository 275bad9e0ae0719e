"""Whole modules and programs of TorchScript: the tensors of their state dicts, and nothing run."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcz.codec.errors import InputError
from dcz.formats.checkpoints.registry import open_checkpoint

torch = pytest.importorskip("torch")
nn = torch.nn


def tied() -> Any:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    return model


def with_buffers() -> Any:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    model.register_buffer("kept", torch.arange(3))
    model.register_buffer("dropped", torch.arange(4), persistent=False)
    model.register_buffer("empty", None)
    return model


def weight_normed() -> Any:
    return nn.utils.weight_norm(nn.Linear(3, 2))


def shared() -> Any:
    inner = nn.Linear(2, 2)
    return nn.ModuleDict({"a": inner, "b": nn.ModuleList([inner, nn.LSTM(2, 3)])})


MODELS = {
    "linear": lambda: nn.Linear(3, 2, bias=False),
    "tied": tied,
    "buffers": with_buffers,
    "weight norm": weight_normed,
    "shared": shared,
    "attention": lambda: nn.TransformerEncoderLayer(8, 2, 16),
    "parallel": lambda: nn.DataParallel(nn.Linear(2, 2)),
    "half": lambda: nn.Linear(3, 2).to(torch.bfloat16),
    "parameters": lambda: nn.ParameterDict({"x": torch.ones(2), "y": torch.zeros(1)}),
}


def assert_has(path: Path, state: dict[str, Any], key: str | None = None) -> None:
    """Compare with the state dict that PyTorch itself gives."""
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.state_dict_key == key
        assert list(checkpoint.tensors) == list(state)
        for name, tensor in state.items():
            assert checkpoint.read(name).astype("f8").tolist() == tensor.to(torch.float64).tolist()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", MODELS)
def test_module_is_read_as_its_state_dict(tmp_path: Path, name: str, is_zip: bool) -> None:
    model = MODELS[name]()
    torch.save(model, tmp_path / "m.pt", _use_new_zipfile_serialization=is_zip)
    assert_has(tmp_path / "m.pt", model.state_dict())
    torch.save({"ema": None, "model": model, "epoch": 1}, tmp_path / "m.pt")
    assert_has(tmp_path / "m.pt", model.state_dict(), "model")


@pytest.mark.parametrize("protocol", range(6))
def test_module_in_a_plain_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    model = with_buffers()
    (tmp_path / "m.pt").write_bytes(pickle.dumps(model, protocol))
    assert_has(tmp_path / "m.pt", model.state_dict())


def test_ties_of_a_module_are_found(tmp_path: Path) -> None:
    torch.save(tied(), tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.ties == {"1.weight": "0.weight"}


@pytest.fixture
def vanishing() -> Iterator[Any]:
    """A class of a module that nobody has when the file is read."""
    module = types.ModuleType("detector_of_somebody")
    source = "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n"
    source += "        super().__init__()\n        self.head = torch.nn.Linear(2, 3)\n"
    exec(source, module.__dict__)
    sys.modules["detector_of_somebody"] = module
    yield module
    sys.modules.pop("detector_of_somebody", None)


def test_class_need_not_exist(tmp_path: Path, vanishing: Any) -> None:
    model = vanishing.Net()
    torch.save({"model": model, "ema": model}, tmp_path / "m.pt")
    state = model.state_dict()
    del sys.modules["detector_of_somebody"]
    with pytest.raises(ModuleNotFoundError):
        torch.load(tmp_path / "m.pt", weights_only=False)
    assert_has(tmp_path / "m.pt", state, "model")
    assert "detector_of_somebody" not in sys.modules


class Script(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.tables = [torch.ones(2), torch.zeros(3)]
        self.sizes = [1, 2]
        self.named = {"a": torch.ones(1)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.tables[0].sum() + self.named["a"] + len(self.sizes)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_read_by_attribute(tmp_path: Path) -> None:
    script = torch.jit.script(Script())
    script.save(tmp_path / "m.pt")
    state = script.state_dict()
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert set(state) <= set(checkpoint.tensors)
        for name, tensor in state.items():
            assert checkpoint.read(name).tolist() == tensor.tolist()
        assert checkpoint.read("tables.1").tolist() == [0, 0, 0]
        assert checkpoint.read("named.a").tolist() == [1]
        assert [part.key for part in checkpoint.left_out] == ["code"]


@pytest.mark.filterwarnings("ignore")
def test_constants_of_a_traced_program_are_read(tmp_path: Path) -> None:
    constant = torch.arange(300.0)
    torch.jit.trace(lambda x: x + constant, torch.ones(300)).save(str(tmp_path / "m.pt"))
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        found = [checkpoint.read(name).tolist() for name in checkpoint.tensors]
    assert found == [constant.tolist()]


@pytest.mark.filterwarnings("ignore")
def test_quantized_tensors_of_a_program_are_left_out(tmp_path: Path) -> None:
    model = torch.ao.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), {nn.Linear}
    )
    torch.jit.script(model).save(tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.read("1.running_var").tolist() == [1, 1]
        causes = [part.what for part in checkpoint.left_out]
    assert any("is a quantized tensor" in cause for cause in causes)


def test_places_for_modules_may_be_empty(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model.register_module("unset", None)
    torch.save(model, tmp_path / "m.pt")
    assert_has(tmp_path / "m.pt", model.state_dict())


def test_modules_in_each_other_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model._modules["1"] = model
    torch.save(model, tmp_path / "m.pt")
    with pytest.raises(InputError, match="without an end"):
        open_checkpoint(tmp_path / "m.pt")


def test_modules_shared_again_and_again_are_refused(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    for _ in range(40):
        model = nn.Sequential(model, model)
    torch.save(model, tmp_path / "m.pt")
    with pytest.raises(InputError, match="without an end"):
        open_checkpoint(tmp_path / "m.pt")
