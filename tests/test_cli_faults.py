"""What ends a command that is not its input's fault: memory, a closed pipe, a key."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dcz.cli import main
from dcz.codec import kernels
from dcz.codec.errors import VersionError
from dcz.codec.wire.arrays import Member
from dcz.formats.commands.inspect import inspect


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (MemoryError(), 4, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError("something of the system"), 4, "something of the system"),
    ],
)
def test_a_command_that_is_stopped_says_why(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    def fail(**options: object) -> int:
        raise error

    monkeypatch.setattr(inspect, "callback", fail)
    assert main(["inspect", "x.dcz"]) == code
    assert capsys.readouterr().err == f"dcz: {told}\n"


def test_a_closed_pipe_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(inspect, "callback", fail)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    assert main(["inspect", "x.dcz"]) == 4
    sys.stdout.close()
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def backend(monkeypatch: pytest.MonkeyPatch, wanted: str) -> ModuleType:
    """The choice of a backend made once more, in a module of its own."""
    monkeypatch.setenv("DCZ_BACKEND", wanted)
    spec = importlib.util.spec_from_file_location(kernels.__name__, Path(kernels.__file__))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_backend_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend(monkeypatch, "numpy").BACKEND == "numpy"
    with pytest.raises(ImportError, match="must be 'c' or 'numpy'"):
        backend(monkeypatch, "fortran")


@pytest.mark.skipif(kernels.BACKEND != "c", reason="needs both backends")
@pytest.mark.parametrize(
    ("native", "reference"),
    [
        ("coding", "coding"),
        ("planes", "decode.planes"),
        ("mixing", "decode.mixing"),
        ("levels", "levels"),
        ("weights", "encode.weights"),
    ],
)
def test_both_backends_offer_the_same(native: str, reference: str) -> None:
    offered = importlib.import_module(f"{kernels.__name__}.native.{native}").__all__
    assert offered == importlib.import_module(f"{kernels.__name__}.reference.{reference}").__all__
    module = importlib.import_module(f"{kernels.__name__}.{native}")
    assert all(callable(getattr(module, name)) for name in offered)


def test_a_backend_that_is_not_there_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="without its C extension"):
        backend(monkeypatch, "c")
    assert backend(monkeypatch, "").BACKEND == "numpy"


def test_a_frame_of_an_unknown_coder_needs_a_newer_release() -> None:
    from dcz.codec.decode.registry import open_frame

    with pytest.raises(VersionError, match="coder 200"):
        open_frame(200, memoryview(b""), [Member(np.dtype(np.uint8), 1)])
