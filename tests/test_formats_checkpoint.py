"""Which format a file is taken for, and what happens with those that are none."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dcz.codec.errors import UnsupportedError
from dcz.formats.checkpoints.base import canonical_array, checked_info
from dcz.formats.checkpoints.numpy_files.npz import MappingCheckpoint
from dcz.formats.checkpoints.registry import (
    ENDINGS,
    READERS,
    WRITERS,
    format_of_ending,
    open_checkpoint,
    write_checkpoint,
)
from dcz.formats.container.tensor_info import TensorInfo

SOURCE = MappingCheckpoint({"w": np.arange(3.0)})
INFOS = list(SOURCE.tensors.values())


@pytest.mark.parametrize("format", ["safetensors", "npz"])
@pytest.mark.parametrize("name", ["m", "m.txt", "m.npy", "m.pt", "m.npz", "m.safetensors"])
def test_content_decides_over_the_ending(tmp_path: Path, format: str, name: str) -> None:
    write_checkpoint(tmp_path / name, INFOS, SOURCE.read, format=format)
    with open_checkpoint(tmp_path / name) as checkpoint:
        assert checkpoint.format == format
        assert checkpoint.read("w").tolist() == [0, 1, 2]


def test_array_is_known_by_its_content(tmp_path: Path) -> None:
    with open(tmp_path / "m.pt", "wb") as stream:
        np.save(stream, np.arange(3.0))
    with open_checkpoint(str(tmp_path / "m.pt")) as checkpoint:
        assert checkpoint.format == "npy"


@pytest.mark.parametrize("name", ["m.SafeTensors", "m.NPZ"])
def test_case_of_an_ending_does_not_matter(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path / name, INFOS, SOURCE.read)
    with open_checkpoint(tmp_path / name) as checkpoint:
        assert checkpoint.format == name[2:].lower()


def test_unknown_content_and_ending_are_unsupported(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07 something else")
    with pytest.raises(UnsupportedError) as caught:
        open_checkpoint(tmp_path / "m.onnx")
    assert caught.value.file == str(tmp_path / "m.onnx")
    assert all(ending in str(caught.value) for ending in ENDINGS)


@pytest.mark.parametrize("name", ["m.onnx", "m", "m.npy", "m.safetensors.index.json"])
def test_endings_that_are_not_written_are_unsupported(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"\.safetensors.*\.pt.*\.npz") as caught:
        write_checkpoint(tmp_path / name, INFOS, SOURCE.read)
    assert caught.value.file == str(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_stream_needs_a_format() -> None:
    with pytest.raises(UnsupportedError, match="<stream>"):
        write_checkpoint(io.BytesIO(), INFOS, SOURCE.read)


def test_table_is_complete() -> None:
    assert set(ENDINGS.values()) == set(READERS) > set(WRITERS)
    assert format_of_ending("a/b.npz/model.safetensors.index.json") == "safetensors-index"
    assert format_of_ending("a.pt/model") is None


def test_failing_read_leaves_the_old_file(tmp_path: Path) -> None:
    def fail(name: str) -> np.ndarray:
        raise KeyboardInterrupt(name)

    for name in ("m.safetensors", "m.npz"):
        (tmp_path / name).write_bytes(b"old")
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(tmp_path / name, INFOS, fail)
        assert (tmp_path / name).read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_torch_is_imported_only_where_it_is_needed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "m.npz", INFOS, SOURCE.read)
    script = """if True:
        import json, sys
        from dcz.formats.checkpoints.registry import open_checkpoint, write_checkpoint
        with open_checkpoint(sys.argv[1]) as source:
            write_checkpoint(sys.argv[2], list(source.tensors.values()), source.read)
        heavy = {"torch", "sklearn", "safetensors"}
        print(json.dumps(sorted(heavy & set(sys.modules))))
    """
    arguments = [str(tmp_path / "m.npz"), str(tmp_path / "m.safetensors")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == []


def test_without_torch_its_files_are_read_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.arange(3.0)}, tmp_path / "m.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with open_checkpoint(tmp_path / "m.pt") as checkpoint:
        assert checkpoint.read("w").tolist() == [0, 1, 2]
    with pytest.raises(UnsupportedError, match=r"pip install dcz\[torch\]"):
        write_checkpoint(tmp_path / "n.pt", INFOS, SOURCE.read)
    assert not (tmp_path / "n.pt").exists()


class TestTensors:
    def test_sizes(self) -> None:
        info = TensorInfo("w", np.dtype("i2"), (3, 4))
        assert (info.numel, info.nbytes) == (12, 24)
        assert TensorInfo("w", np.dtype("i2"), ()).numel == 1
        assert TensorInfo("w", np.dtype("i2"), (5, 0)).nbytes == 0

    def test_infos_are_little_endian(self) -> None:
        assert checked_info("w", np.dtype(">i4"), [np.int64(2)]) == TensorInfo(
            "w", np.dtype("<i4"), (2,)
        )

    @pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4)])
    def test_canonical_array_keeps_the_shape_and_the_caller_s_array(self, shape) -> None:
        array = np.zeros(shape, ">f8")
        found = canonical_array(array)
        assert (found.shape, found.dtype) == (shape, np.dtype("<f8"))
        assert array.flags.writeable and not found.flags.writeable

    def test_canonical_array_keeps_bytes_that_are_no_bool(self) -> None:
        odd = np.array([[0, 1, 2], [255, 0, 7]], np.uint8)
        assert canonical_array(odd.view(np.bool_).T).view(np.uint8).tolist() == odd.T.tolist()
