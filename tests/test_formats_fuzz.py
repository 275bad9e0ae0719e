"""Whatever bytes a checkpoint holds: it opens and reads, or a typed error says why not."""

from __future__ import annotations

import io
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcz.codec.errors import CorruptError, InputError, UnsupportedError
from dcz.formats.checkpoints.numpy_files.npz import MappingCheckpoint
from dcz.formats.checkpoints.registry import open_checkpoint, write_checkpoint

ARRAYS = {"a": np.arange(3, dtype=np.float32), "b": np.zeros((2, 1), np.int8), "c": np.array(1.5)}


def written(format: str) -> bytes:
    source, stream = MappingCheckpoint(ARRAYS), io.BytesIO()
    write_checkpoint(stream, list(source.tensors.values()), source.read, format=format)
    return stream.getvalue()


def saved() -> bytes:
    stream = io.BytesIO()
    np.save(stream, ARRAYS["a"])
    return stream.getvalue()


FILES = {".safetensors": written("safetensors"), ".npz": written("npz"), ".npy": saved()}


def opens(ending: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"m{ending}"
        path.write_bytes(content)
        with open_checkpoint(path) as checkpoint:
            for name, info in checkpoint.tensors.items():
                found = checkpoint.read(name)
                assert (found.shape, found.dtype) == (info.shape, info.dtype)


def opens_or_is_refused(ending: str, content: bytes) -> None:
    try:
        opens(ending, content)
    except (InputError, UnsupportedError, CorruptError) as error:
        assert error.file is not None and error.file.endswith(f"m{ending}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", FILES)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_changed_bytes(ending: str, data: st.DataObject) -> None:
    content = bytearray(FILES[ending])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    opens_or_is_refused(ending, bytes(content))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", [*FILES, ".safetensors.index.json"])
@given(content=st.binary(max_size=200))
def test_random_bytes(ending: str, content: bytes) -> None:
    opens_or_is_refused(ending, content)


def test_offset_before_the_start_of_an_archive() -> None:
    content = bytearray(FILES[".npz"])
    end = content.rindex(b"PK\5\6")
    struct.pack_into("<I", content, end + 16, struct.unpack_from("<I", content, end + 16)[0] + 742)
    with pytest.raises(InputError, match="damaged zip archive"):
        opens(".npz", bytes(content))


@pytest.mark.filterwarnings("ignore")
@given(text=st.text(max_size=80))
def test_random_npy_headers(text: str) -> None:
    header = text.encode("utf-8", "surrogatepass")
    magic = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little")
    opens_or_is_refused(".npy", magic + header + bytes(8))
