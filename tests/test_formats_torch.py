"""PyTorch's files in both of its formats, state dicts, pruned pairs and poisoned pickles."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcz.codec.errors import InputError, UnsupportedError
from dcz.formats.checkpoints.numpy_files.npz import MappingCheckpoint
from dcz.formats.checkpoints.pytorch.state_dict import StateDictCheckpoint
from dcz.formats.checkpoints.pytorch.tensors import array_from_tensor, tensor_from_array
from dcz.formats.checkpoints.registry import open_checkpoint, write_checkpoint
from dcz.formats.container.dtypes import DTYPES

torch = pytest.importorskip("torch")

SHAPES = [(), (0,), (2, 0, 3), (1,), (300,), (4, 5, 6)]
BOTH_FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def random_bits(dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    bits = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    if dtype == np.bool_:
        bits &= 1
    return bits.view(dtype).reshape(shape)


def oracle_tensor(array: np.ndarray) -> Any:
    """Let PyTorch itself interpret the bytes."""
    dtype = getattr(torch, array.dtype.name)
    if not array.size:
        return torch.empty(array.shape, dtype=dtype)
    return torch.frombuffer(bytearray(array.tobytes()), dtype=dtype).reshape(array.shape)


def oracle_bytes(tensor: Any) -> bytes:
    """Let PyTorch itself give the bytes."""
    flat = tensor.detach().reshape(-1).clone()
    return bytes(flat.untyped_storage().tolist()) if flat.numel() else b""


ARRAYS = {
    f"{row.name}.{index}": random_bits(row.numpy, shape)
    for row in DTYPES
    for index, shape in enumerate(SHAPES)
}


def save(path: Path, value: object, is_zip: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=is_zip)
    return path


def assert_reads(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "torch"
        assert list(checkpoint.tensors) == list(arrays)
        for name, array in arrays.items():
            info, found = checkpoint.tensors[name], checkpoint.read(name)
            assert (info.dtype, info.shape) == (array.dtype, array.shape)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()
            assert found.flags.c_contiguous and not found.flags.writeable


@BOTH_FORMATS
def test_every_type_and_shape_is_read_bit_for_bit(tmp_path: Path, is_zip: bool) -> None:
    tensors = {name: oracle_tensor(array) for name, array in ARRAYS.items()}
    assert_reads(save(tmp_path / "m.pt", tensors, is_zip), ARRAYS)


def test_torch_loads_what_is_written_bit_for_bit(tmp_path: Path) -> None:
    source = MappingCheckpoint(ARRAYS)
    write_checkpoint(tmp_path / "m.pt", list(source.tensors.values()), source.read)
    loaded = torch.load(tmp_path / "m.pt", weights_only=True)
    assert type(loaded) is collections.OrderedDict and list(loaded) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == getattr(torch, array.dtype.name)
        assert tuple(loaded[name].shape) == array.shape
        assert oracle_bytes(loaded[name]) == array.tobytes()
    assert_reads(tmp_path / "m.pt", ARRAYS)


def test_equal_tensors_give_equal_bytes() -> None:
    source, streams = MappingCheckpoint(ARRAYS), [io.BytesIO(), io.BytesIO()]
    for stream in streams:
        write_checkpoint(stream, list(source.tensors.values()), source.read, format="torch")
    assert streams[0].getvalue() == streams[1].getvalue()


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin", ".ckpt", ".model"])
@BOTH_FORMATS
def test_ending_does_not_matter(tmp_path: Path, ending: str, is_zip: bool) -> None:
    path = save(tmp_path / f"m{ending}", {"w": torch.ones(2)}, is_zip)
    assert_reads(path, {"w": np.ones(2, np.float32)})


def test_recompressed_file_is_read(tmp_path: Path) -> None:
    save(tmp_path / "stored.pt", {"a": torch.arange(1000.0), "b": torch.arange(2000.0)})
    with (
        zipfile.ZipFile(tmp_path / "stored.pt") as stored,
        zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as deflated,
    ):
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))
    arrays = {"a": np.arange(1000, dtype="f4"), "b": np.arange(2000, dtype="f4")}
    assert_reads(tmp_path / "m.pt", arrays)


def test_arrays_are_views_of_the_file_and_outlive_it(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", {"w": torch.arange(1000.0)})
    with open_checkpoint(path) as checkpoint:
        found = checkpoint.read("w")
        assert np.shares_memory(found, checkpoint.read("w"))
    assert found.tolist() == list(range(1000))
    with pytest.raises(KeyError):
        checkpoint.read("w")


LAYOUTS = {
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "strided": torch.arange(24, dtype=torch.int16).reshape(4, 6)[::2, 1::2],
    "strided fp8": torch.arange(24).reshape(4, 6).to(torch.float8_e5m2).t(),
    "strided bf16": torch.arange(24).reshape(4, 6).to(torch.bfloat16)[:, ::3],
    "strided complex128": torch.arange(6).to(torch.complex128).mul(1 - 2j).reshape(2, 3).t(),
    "strided bool": torch.tensor([[True, False, True], [False, False, True]]).t(),
    "expanded": torch.tensor(1.5).expand(3, 4),
    "expanded row": torch.arange(3.0).expand(2, 3),
    "offset": torch.arange(9.0)[4:],
    "conjugate": torch.tensor([1 + 2j, -0.0 - 3j]).conj(),
    "conjugate complex128": torch.tensor([[1 + 2j, 3j]], dtype=torch.complex128).conj().t(),
    "negative": torch.tensor([1 + 2j, 3j]).conj().imag,
    "channels last": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "parameter": torch.nn.Parameter(torch.arange(3.0)),
    "0-d": torch.tensor(2.5, dtype=torch.float64),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_come_in_c_order(tmp_path: Path, layout: str) -> None:
    tensor = LAYOUTS[layout]
    values = tensor.detach().resolve_conj().resolve_neg().tolist()
    expected = np.array(values, str(tensor.dtype).split(".")[1]) if _is_native(tensor) else None
    checkpoints = [StateDictCheckpoint({"w": tensor})]
    if "fp8" not in layout:  # PyTorch's own copies of strided fp8 are not what is tested here
        checkpoints.append(open_checkpoint(save(tmp_path / "m.pt", {"w": tensor})))
    for checkpoint in checkpoints:
        found = checkpoint.read("w")
        assert found.flags.c_contiguous and found.shape == tuple(tensor.shape)
        if expected is not None:
            assert found.tobytes() == expected.tobytes()
        else:
            assert found.astype(np.float64).tolist() == values


def _is_native(tensor: Any) -> bool:
    return tensor.dtype not in (torch.bfloat16, torch.float8_e5m2)


UNREADABLE = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "sparse"),
    "sparse csr": (lambda: torch.eye(3).to_sparse_csr(), "sparse"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantiz"),
    "meta": (lambda: torch.empty(3, device="meta"), "meta device"),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
    "lazy": (lambda: torch.nn.LazyLinear(3).weight, "lazy"),
    "complex32": (lambda: torch.zeros(2, dtype=torch.complex32), "complex32 is not supported"),
    "33 dimensions": (lambda: torch.zeros([1] * 33), "33 dimensions"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", UNREADABLE)
def test_tensors_without_plain_elements_are_refused(kind: str) -> None:
    make, cause = UNREADABLE[kind]
    with pytest.raises((InputError, UnsupportedError), match=cause) as caught:
        StateDictCheckpoint({"fine": torch.ones(1), "w": make()}, "model")
    assert (caught.value.tensor, caught.value.file) == ("w", "model")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["sparse", "quantized", "meta"])
@BOTH_FORMATS
def test_they_are_refused_in_files_too(tmp_path: Path, kind: str, is_zip: bool) -> None:
    path = save(tmp_path / "m.pt", {"w": UNREADABLE[kind][0]()}, is_zip)
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert caught.value.file == str(path)


class TestTies:
    def ties(self, state: dict[str, Any]) -> dict[str, str]:
        return StateDictCheckpoint(state).ties

    def test_same_memory_is_a_tie_and_anything_else_is_not(self) -> None:
        base = torch.arange(12.0).reshape(3, 4)
        assert self.ties(
            {
                "a": base,
                "again": base.detach(),
                "view": base.view(3, 4),
                "flat": base.view(12),
                "transposed": base.t(),
                "row": base[0],
                "first row": base[:1],
                "bits": base.view(torch.int32),
                "copy": base.clone(),
                "row again": base[0],
                "empty": base[:0],
                "empty again": base[:0],
            }
        ) == {"again": "a", "view": "a", "row again": "row"}

    def test_conjugate_is_no_tie(self) -> None:
        base = torch.tensor([1j])
        assert self.ties({"a": base, "b": base.conj(), "c": base.conj()}) == {"c": "b"}

    @BOTH_FORMATS
    def test_ties_survive_files(self, tmp_path: Path, is_zip: bool) -> None:
        embedding, head = torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False)
        head.weight = embedding.weight
        model = torch.nn.ModuleDict({"embedding": embedding, "head": head})
        path = save(tmp_path / "m.pt", model.state_dict(), is_zip)
        with open_checkpoint(path) as source:
            assert source.ties == {"head.weight": "embedding.weight"}
            infos = list(source.tensors.values())
            write_checkpoint(tmp_path / "n.pt", infos, source.read, ties=source.ties)
        loaded = torch.load(tmp_path / "n.pt", weights_only=True)
        pointers = {tensor.data_ptr() for tensor in loaded.values()}
        assert len(loaded) == 2 and len(pointers) == 1
        model.load_state_dict(loaded, strict=True)


class TestPrunedPairs:
    def model(self) -> Any:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 4))

    @BOTH_FORMATS
    def test_pairs_of_torch_are_folded(self, tmp_path: Path, is_zip: bool) -> None:
        prune = pytest.importorskip("torch.nn.utils.prune")
        model = self.model()
        prune.l1_unstructured(model[0], "weight", 0.5)
        prune.random_unstructured(model[0], "bias", 2)
        prune.ln_structured(model[2], "weight", 1, n=2, dim=0)
        path = save(tmp_path / "m.pt", model.state_dict(), is_zip)
        with open_checkpoint(path) as checkpoint:
            found = {name: checkpoint.read(name) for name in checkpoint.tensors}
        for module, name in ((model[0], "weight"), (model[0], "bias"), (model[2], "weight")):
            prune.remove(module, name)
        expected = model.state_dict()
        assert set(found) == set(expected)
        for name, tensor in expected.items():
            # Equal and not identical: torch leaves -0.0 where a negative weight was pruned.
            assert np.array_equal(found[name], tensor.numpy())
        assert np.count_nonzero(found["0.weight"]) == 24
        assert not np.signbit(found["0.weight"][found["0.weight"] == 0]).any()
        self.model().load_state_dict({n: tensor_from_array(a) for n, a in found.items()})

    def test_place_is_that_of_the_first_of_the_two(self) -> None:
        one = torch.ones(2)
        for names in (["a_orig", "b", "a_mask", "c"], ["a_mask", "b", "a_orig", "c"]):
            state = {name: one.clone() for name in names}
            assert list(StateDictCheckpoint(state).tensors) == ["a", "b", "c"]

    @pytest.mark.parametrize("mask_type", [torch.float32, torch.bool, torch.uint8, torch.bfloat16])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
    def test_type_is_the_original_s_and_pruned_values_are_exact_zeros(
        self, dtype: Any, mask_type: Any
    ) -> None:
        original = torch.tensor([-1.5, float("nan"), 2.0, float("nan")]).to(dtype)
        mask = torch.tensor([0, 0, 1, 1]).to(mask_type)
        state = {"w_orig": original, "w_mask": mask}
        found = StateDictCheckpoint(state).read("w")
        bits = array_from_tensor(original).view(np.uint8).reshape(4, -1)
        assert found.dtype == array_from_tensor(original).dtype
        assert found.view(np.uint8).reshape(4, -1)[:2].sum() == 0
        assert found.view(np.uint8).reshape(4, -1)[2:].tolist() == bits[2:].tolist()
        assert list(state) == ["w_orig", "w_mask"]

    def test_ties_of_pruned_weights(self) -> None:
        weight, mask, other = torch.ones(2), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
        state = {"a_orig": weight, "a_mask": mask, "b_orig": weight, "b_mask": mask}
        state |= {"c_orig": weight, "c_mask": other, "d": weight}
        assert StateDictCheckpoint(state).ties == {"b": "a"}

    @pytest.mark.parametrize(
        "state",
        [
            {"w_orig": torch.ones(2)},
            {"w_mask": torch.ones(2)},
            {"w_orig": torch.ones(2), "w_mask": torch.ones(3)},
            {"w_orig": torch.ones(2), "w_mask": torch.tensor([0.5, 1])},
            {"w_orig": torch.ones(2), "w_mask": torch.tensor([float("nan"), 1])},
            {"w_orig": torch.ones(2), "w_mask": torch.ones(2), "w": torch.ones(2)},
        ],
        ids=["no mask", "no original", "shape", "no mask values", "nan", "name taken"],
    )
    def test_what_is_no_pair_stays_as_it_is(self, state: dict[str, Any]) -> None:
        checkpoint = StateDictCheckpoint(state)
        assert list(checkpoint.tensors) == list(state)
        for name, tensor in state.items():
            assert checkpoint.read(name).tobytes() == tensor.numpy().tobytes()

    def test_name_that_ends_in_both_is_kept(self) -> None:
        state = {"w_mask_orig": torch.ones(1), "w_mask_mask": torch.ones(1), "_orig": torch.ones(1)}
        assert list(StateDictCheckpoint(state).tensors) == ["w_mask", "_orig"]


STATE = {"a": torch.ones(2), "b": torch.zeros(1)}
OTHER = {"c": torch.ones(1)}
WRAPPED = {
    "plain": (STATE, None),
    "empty": ({}, None),
    "state_dict": ({"state_dict": STATE, "epoch": 3, "best": torch.tensor(0.5)}, "state_dict"),
    "model": ({"optimizer": {"state": {0: {"m": torch.ones(1)}}}, "model": STATE}, "model"),
    "model_state_dict": ({"model_state_dict": STATE, "args": {"lr": 0.1}}, "model_state_dict"),
    "nested": ({"model": {"state_dict": STATE, "step": 1}}, "model.state_dict"),
    "weights before their average": ({"ema": OTHER, "state_dict": STATE}, "state_dict"),
    "average alone": ({"ema": STATE, "step": 7}, "ema"),
    "key of the user": ({"detector": STATE, "step": 7}, "detector"),
    "tensor called like a key": ({"model": torch.ones(2)}, None),
}


@pytest.mark.parametrize("case", WRAPPED)
@BOTH_FORMATS
def test_state_dict_is_found(tmp_path: Path, case: str, is_zip: bool) -> None:
    value, key = WRAPPED[case]
    with open_checkpoint(save(tmp_path / "m.pt", value, is_zip)) as checkpoint:
        assert checkpoint.state_dict_key == key
        assert list(checkpoint.tensors) == list(STATE if key else value)


REFUSED = {
    "number": (3, "holds no tensors but 3$"),
    "no tensors": ({"epoch": 3}, "holds no tensors but dict of 1$"),
    "an object": (argparse.Namespace(lr=1), "no tensors but argparse.Namespace, an object that"),
    "two of one name": ({"a.b": torch.ones(1), "a": OTHER | {"b": torch.ones(1)}}, "'a.b': two"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_tensors_is_refused(tmp_path: Path, case: str) -> None:
    value, cause = REFUSED[case]
    path = save(tmp_path / "m.pt", value)
    with pytest.raises(InputError, match=cause) as caught:
        open_checkpoint(path)
    assert caught.value.file == str(path)


# What is saved, the names of the tensors that are read, and the keys of what is left out.
PARTS: dict[str, tuple[Any, list[str], list[str]]] = {
    "tensor": (torch.ones(2), ["tensor"], []),
    "list": ([STATE], ["0.a", "0.b"], []),
    "several": (
        {"generator": STATE, "critic": OTHER, "step": 3},
        ["generator.a", "generator.b", "critic.c"],
        ["step"],
    ),
    "deep": ({"x": {"y": {"z": STATE}}}, ["x.y.z.a", "x.y.z.b"], []),
    "counter among tensors": (STATE | {"epoch": 3}, ["a", "b"], ["epoch"]),
    "extra state": (STATE | {"m._extra_state": {"a": 1}}, ["a", "b"], ["m._extra_state"]),
    "module of tensors": (STATE | {"sub": OTHER}, ["a", "b", "sub.c"], []),
    "number as a name": ({"state_dict": {"a": torch.ones(1), 7: torch.ones(1)}}, ["a", "7"], []),
    "optimizer": (
        {"state": {0: {"step": 1, "m": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]},
        ["state.0.m"],
        [],
    ),
    "training": (
        {"model": STATE, "ema": OTHER, "opt": {"state": {0: OTHER}}, "epoch": 3, "none": None},
        ["a", "b"],
        ["ema", "opt", "epoch"],
    ),
    "none among tensors": ({"a": torch.ones(1), "bias": None}, ["a"], []),
    "objects": ({"model": STATE, "args": argparse.Namespace(lr=1)}, ["a", "b"], ["args"]),
}


@pytest.mark.parametrize("case", PARTS)
@BOTH_FORMATS
def test_every_tensor_is_read_or_said_to_be_left_out(
    tmp_path: Path, case: str, is_zip: bool
) -> None:
    value, names, left_out = PARTS[case]
    with open_checkpoint(save(tmp_path / "m.pt", value, is_zip)) as checkpoint:
        assert list(checkpoint.tensors) == names
        assert [part.key for part in checkpoint.left_out] == left_out


def test_state_dict_in_memory_must_map_names_to_tensors() -> None:
    assert list(StateDictCheckpoint({"a": torch.ones(1), "none": None}).tensors) == ["a"]  # type: ignore[dict-item]
    with pytest.raises(InputError, match="7 is not a string"):
        StateDictCheckpoint({7: torch.ones(1)})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="float and not a tensor"):
        StateDictCheckpoint({"a": 1.0})  # type: ignore[dict-item]


class Poison:
    """Unpickling it creates a file, unless nothing of it is run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@BOTH_FORMATS
@pytest.mark.parametrize("place", ["entry", "wrapper", "whole"])
def test_poisoned_pickle_is_not_run(tmp_path: Path, is_zip: bool, place: str) -> None:
    poison = Poison(tmp_path / "ran")
    values = {"entry": STATE | {"x": poison}, "wrapper": {"model": STATE, "x": poison}}
    path = save(tmp_path / "m.pt", values.get(place, poison), is_zip)
    if place == "whole":
        with pytest.raises(InputError, match=r"(posix|nt)\.system, an object that was not made"):
            open_checkpoint(path)
    else:
        with open_checkpoint(path) as checkpoint:
            assert [checkpoint.read(name).tolist() for name in checkpoint.tensors] == [[1, 1], [0]]
            (left,) = checkpoint.left_out
        assert left.key == "x" and left.what.endswith("system, an object that was not made")
    assert not (tmp_path / "ran").exists()
    # The poison is real: the same bytes do run in a loader that trusts them.
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_bare_poisoned_pickle_is_not_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps({"w": Poison(tmp_path / "ran")}, protocol))
    with pytest.raises(InputError, match="no tensors"):
        open_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def damaged_files() -> dict[str, bytes]:
    files: dict[str, bytes] = {"empty": b"", "text": b"hello", "zip start": b"PK\3\4" + bytes(40)}
    for is_zip in (True, False):
        stream = io.BytesIO()
        torch.save(STATE, stream, _use_new_zipfile_serialization=is_zip)
        whole = stream.getvalue()
        for part in range(1, 8):
            kind = "zip" if is_zip else "legacy"
            files[f"{kind} cut at {part}/8"] = whole[: len(whole) * part // 8]
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    files["tar"] = tar.getvalue()
    return files


@pytest.mark.parametrize("kind", damaged_files())
def test_damaged_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(damaged_files()[kind])
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert caught.value.file == str(path)
    assert "\n" not in str(caught.value) and len(caught.value.cause) > 20


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_checkpoint(tmp_path / "m.pt")


def test_failing_disk_stays_an_os_error(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    path = save(tmp_path / "m.pt", STATE)
    monkeypatch.setattr("mmap.mmap", fail)
    with pytest.raises(OSError, match="Input/output"):
        open_checkpoint(path)


class TestConversion:
    @pytest.mark.parametrize("name", ARRAYS)
    def test_array_and_tensor_hold_the_same_bits(self, name: str) -> None:
        array = ARRAYS[name].copy()
        tensor = tensor_from_array(array)
        assert tensor.dtype == getattr(torch, array.dtype.name)
        assert tuple(tensor.shape) == array.shape
        assert oracle_bytes(tensor) == array.tobytes()
        back = array_from_tensor(tensor)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.tobytes() == array.tobytes()
        if array.size:
            assert tensor.data_ptr() == array.__array_interface__["data"][0]
            assert np.shares_memory(back, array)

    def test_unusual_arrays_are_copied_without_a_warning(self) -> None:
        fixed = np.arange(3.0)
        fixed.flags.writeable = False
        misaligned = np.frombuffer(b"\0" + np.arange(3.0).tobytes(), np.uint8)[1:].view("<f8")
        unusual = [fixed, misaligned, np.arange(3.0)[::-1][::-1], np.arange(3, dtype=">f8")]
        unusual += [np.arange(6.0)[::-2][::-1] - 1, np.array(ARRAYS["bfloat16.5"]).T]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for array in unusual:
                tensor = tensor_from_array(array)
                assert (
                    tensor.float().tolist() == array.astype(np.float32).tolist()
                    or np.isnan(array.astype(np.float32)).any()
                )
        tensor_from_array(fixed)[0] = 7
        assert fixed[0] == 0

    def test_source_tensor_is_not_changed(self) -> None:
        tensor = torch.nn.Parameter(torch.ones(2))
        found = array_from_tensor(tensor)
        assert tensor.requires_grad and not found.flags.writeable

    def test_type_that_torch_lacks_is_unsupported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(torch, "float8_e8m0fnu")
        with pytest.raises(UnsupportedError, match="has no float8_e8m0fnu"):
            tensor_from_array(ARRAYS["float8_e8m0fnu.4"])
