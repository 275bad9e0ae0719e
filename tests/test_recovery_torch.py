"""State dicts come back as `load_state_dict(strict=True)` wants them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dcz
from dcz.formats.container.dtypes import DTYPES

torch = pytest.importorskip("torch")
nn = torch.nn
DTYPES_OF_TORCH = [row.torch for row in DTYPES if row.torch and hasattr(torch, row.torch)]
LOSSLESS = dcz.Recipe(quantizer="lossless")


class Tied(nn.Module):  # type: ignore[misc,name-defined]
    """Ties an embedding to the last layer, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("none", torch.zeros(0, 3))


def same(a: Any, b: Any) -> bool:
    as_bytes = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*as_bytes)


@pytest.mark.parametrize("recipe", [None, LOSSLESS, dcz.Recipe(bits=3, sparsity=0.5)])
def test_a_model_takes_its_state_back(tmp_path: Path, recipe: dcz.Recipe | None) -> None:
    torch.manual_seed(0)
    model, other = Tied(), Tied()
    path = tmp_path / "model.dcz"
    dcz.save_state_dict(model.state_dict(), path, recipe)
    state = dcz.load_state_dict(path)
    assert list(state) == list(model.state_dict())
    other.load_state_dict(state, strict=True)
    dcz.load_model(other, path)
    for name, tensor in model.state_dict().items():
        got = other.state_dict()[name]
        assert (got.shape, got.dtype) == (tensor.shape, tensor.dtype)
        if recipe is LOSSLESS or tensor.ndim < 2:
            assert same(got, tensor), name


def test_tied_weights_are_tied_again(tmp_path: Path) -> None:
    model = Tied()
    path = tmp_path / "model.dcz"
    report = dcz.save_state_dict(model.state_dict(), path, LOSSLESS)
    state = dcz.load_state_dict(path)
    assert state["head.weight"].data_ptr() == state["embedding.weight"].data_ptr()
    assert state["head.weight"] is state["embedding.weight"]
    stored = [t for t in report.tensors if t.name == "head.weight"]
    assert stored[0].alias_of == "embedding.weight"
    assert stored[0].bits == 0


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "float16",
        "bfloat16",
        "float64",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "bool",
        "complex64",
        "complex128",
    ],
)
def test_every_dtype_of_torch(tmp_path: Path, dtype: str) -> None:
    kind = getattr(torch, dtype)
    raw = torch.randint(0, 2 if dtype == "bool" else 256, (960,), dtype=torch.uint8)
    tensor = raw.view(kind)
    tensors = {
        "flat": tensor,
        "matrix": tensor.reshape(5, -1),
        "scalar": tensor[0].clone(),
        "none": torch.zeros(0, 2, dtype=kind),
    }
    dcz.save_state_dict(tensors, tmp_path / "x.dcz", LOSSLESS)
    state = dcz.load_state_dict(tmp_path / "x.dcz")
    for name, expected in tensors.items():
        assert same(state[name], expected), name


def test_every_layout_in_memory(tmp_path: Path) -> None:
    base = torch.randn(4, 3, 6, 5)
    tensors = {
        "transposed": base.permute(3, 1, 0, 2),
        "channels last": base.to(memory_format=torch.channels_last),
        "strided": base[::2, :, 1::3],
        "expanded": base[0, 0, 0].expand(7, 5),
        "part": base[1:3],
        "gradient": base.clone().requires_grad_(),
        "parameter": nn.Parameter(base.clone()),
        "conjugate": torch.randn(4, 5, dtype=torch.complex64).conj(),
        "negative": torch.randn(4, 5, dtype=torch.complex64).conj().imag,
    }
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    dcz.save_state_dict(tensors, tmp_path / "x.dcz", LOSSLESS)
    state = dcz.load_state_dict(tmp_path / "x.dcz")
    for name, tensor in tensors.items():
        expected = copies[name].resolve_conj().resolve_neg().contiguous()
        assert same(state[name], expected), name
        assert torch.equal(tensor.detach(), copies[name])


def test_pruned_pairs_become_the_pruned_weight(tmp_path: Path) -> None:
    from torch.nn.utils import prune

    torch.manual_seed(1)
    model = nn.Sequential(OrderedDict(a=nn.Linear(40, 30), b=nn.Linear(30, 20)))
    prune.l1_unstructured(model.a, "weight", amount=0.7)
    prune.random_unstructured(model.b, "bias", amount=0.5)
    assert "a.weight_orig" in model.state_dict()
    dcz.save_state_dict(model.state_dict(), tmp_path / "x.dcz", LOSSLESS)
    state = dcz.load_state_dict(tmp_path / "x.dcz")
    assert set(state) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert torch.equal(state["a.weight"], model.a.weight)
    assert torch.equal(state["b.bias"], model.b.bias)
    assert torch.count_nonzero(state["a.weight"]) == 360
    plain = nn.Sequential(OrderedDict(a=nn.Linear(40, 30), b=nn.Linear(30, 20)))
    plain.load_state_dict(state, strict=True)
    assert "a.weight_orig" in model.state_dict()


def test_decoded_tensors_can_be_trained(tmp_path: Path) -> None:
    dcz.save_state_dict({"w": torch.randn(30, 40)}, tmp_path / "x.dcz")
    weight = dcz.load_state_dict(tmp_path / "x.dcz")["w"].requires_grad_()
    (weight * weight).sum().backward()
    weight.data.add_(1)
    assert np.isfinite(weight.grad.numpy()).all()


def test_a_model_that_does_not_fit_is_refused_by_torch(tmp_path: Path) -> None:
    dcz.save_state_dict({"w": torch.randn(30, 40)}, tmp_path / "x.dcz")
    with pytest.raises(RuntimeError, match="Missing key"):
        dcz.load_model(Tied(), tmp_path / "x.dcz")


def test_a_pruned_tensor_and_a_plain_one_with_its_elements_are_stored_once(tmp_path: Path) -> None:
    weight = torch.arange(1.0, 2001.0).reshape(40, 50)
    mask = (weight % 3 == 0).float()
    state = {"a.weight_orig": weight, "a.weight_mask": mask, "b.weight": weight * mask}
    report = dcz.save_state_dict(state, tmp_path / "model.dcz", LOSSLESS)
    aliases = {tensor.name: tensor.alias_of for tensor in report.tensors}
    assert aliases == {"a.weight": None, "b.weight": "a.weight"}
