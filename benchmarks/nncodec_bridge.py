"""NNCodec 2.1.3, the reference software of ISO/IEC 15938-17, run beside dcz as a process.

    python benchmarks/nncodec_bridge.py setup                     builds its environment
    python benchmarks/nncodec_bridge.py run WEIGHTS.safetensors --qp -26

It wants an older NumPy and much that dcz does not, so it lives in a virtual environment of its
own (default `~/.cache/dcz-benchmarks/nncodec`, or what DCZ_NNCODEC_ENV names), is handed
arrays as an .npz file and hands back its reconstruction as another one.
This file is also what runs in there (`worker`), so until then it imports nothing of either side.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import types
import venv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]

VERSION = "2.1.3"
BUILD = ("numpy<2", "torch", "pybind11", "setuptools", "wheel")
NEEDS = (
    "numpy<2",
    "click",
    "h5py",
    "pandas",
    "ptflops",
    "scikit-learn",
    "torchmetrics",
    "tqdm",
    "opencv-python-headless",
)


@dataclass(frozen=True, slots=True)
class Result:
    """One round trip: seconds of `compress` and `decompress` alone, the bitstream's bytes."""

    encode_seconds: float
    decode_seconds: float
    bytes: int
    arrays: Arrays


def environment() -> Path:
    """Return the folder of NNCodec's virtual environment."""
    chosen = os.environ.get("DCZ_NNCODEC_ENV")
    return Path(chosen) if chosen else Path.home() / ".cache" / "dcz-benchmarks" / "nncodec"


def setup(folder: Path) -> None:
    """Create the environment and build NNCodec in it, some minutes on one core."""
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *BUILD], check=True)
    exact = f"nncodec=={VERSION}"
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", exact], check=True)
    subprocess.run([*pip, *NEEDS], check=True)


def available(folder: Path | None = None) -> bool:
    """Tell whether the environment is there and NNCodec can be imported in it."""
    python = (folder or environment()) / "bin" / "python"
    if not python.exists():
        return False
    probe = subprocess.run([python, __file__, "probe"], capture_output=True, check=False)
    return probe.returncode == 0


def run(arrays: Arrays, qp: int, folder: Path | None = None) -> Result:
    """Encode and decode fp32 arrays of one dimension or more at quantization parameter `qp`.

    qp from -38 to -20 covers relative squared errors from 1e-4 to 4e-2. Tensors that are not
    fp32 and those of no dimension are left out. The process runs on the caller's own cores.
    Raises `subprocess.CalledProcessError` where NNCodec fails.
    """
    chosen = {k: v for k, v in arrays.items() if v.dtype == np.float32 and v.ndim and v.size}
    python = (folder or environment()) / "bin" / "python"
    with tempfile.TemporaryDirectory() as scratch:
        source, result = Path(scratch) / "source.npz", Path(scratch) / "result.npz"
        save_arrays(source, chosen)
        command: list[str | Path] = [python, __file__, "worker", source, str(qp), result]
        single = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=single, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        return Result(**figures, arrays=load_arrays(result))


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays as .npz members called 0, 1, ..., with the names in another one."""
    members = {str(number): array for number, array in enumerate(arrays.values())}
    # A name with a slash or a colon is no safe member name.
    members["names"] = np.array(json.dumps(list(arrays)))
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **members)


def load_arrays(path: Path) -> Arrays:
    """Read what `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as members:
        names = json.loads(str(members["names"]))
        return {name: members[str(number)] for number, name in enumerate(names)}


def worker(source: Path, qp: int, result: Path) -> None:
    """Do one round trip inside NNCodec's environment and print its figures as JSON."""
    nnc = import_nncodec()
    arrays = load_arrays(source)
    bitstream = str(source.with_suffix(".nnc"))
    start = time.perf_counter()
    nnc.compress(arrays, bitstream_path=bitstream, qp=qp, return_bitstream=False, verbose=False)
    middle = time.perf_counter()
    decoded = nnc.decompress(bitstream, verbose=False)
    end = time.perf_counter()
    save_arrays(result, {name: np.asarray(decoded[name]) for name in arrays})
    figures = {"encode_seconds": middle - start, "decode_seconds": end - middle}
    print(json.dumps({**figures, "bytes": os.path.getsize(bitstream)}))


def import_nncodec() -> Any:
    """Import NNCodec's functions; it imports torchvision, which its codec never uses."""
    sys.modules["torchvision"] = Unused("torchvision")
    return importlib.import_module("nncodec.nnc")


class Unused(types.ModuleType):
    """A module in which every public name exists: a class that does nothing."""

    def __getattr__(self, name: str) -> type:
        """Make up a class that NNCodec's data sets can derive from, or call with anything."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class NamesAnything(type):
    """A class whose public attributes are all the same class that does nothing."""

    def __getattr__(cls, name: str) -> type:
        """Make up the attribute."""
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class Anything(metaclass=NamesAnything):
    """Takes any arguments and does nothing."""

    def __init__(self, *positional: object, **named: object) -> None:
        pass


def relative_error(source: Arrays, decoded: Arrays) -> float:
    """Return sum (w - w')^2 / sum w^2 over the source's tensors of two or more dimensions."""
    lost = total = 0.0
    for name, array in source.items():
        if array.ndim < 2 or array.dtype.kind != "f" or name not in decoded:
            continue
        exact = array.astype(np.float64)
        lost += float(np.square(exact - decoded[name]).sum())
        total += float(np.square(exact).sum())
    return lost / total


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Run NNCodec in an environment of its own.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("setup", help="build the environment")
    commands.add_parser("probe", help="(inside the environment) import NNCodec")
    once = commands.add_parser("run", help="one round trip of a checkpoint")
    once.add_argument("weights", type=Path, help=".safetensors, .pt, .pth or .npz")
    once.add_argument("--qp", type=int, default=-26)
    inside = commands.add_parser("worker", help="(inside the environment) one round trip")
    inside.add_argument("source", type=Path)
    inside.add_argument("qp", type=int)
    inside.add_argument("result", type=Path)
    return parser.parse_args(arguments)


def run_file(path: Path, qp: int) -> None:
    """Print the figures of one round trip of a checkpoint file."""
    from checkpoints import load

    source = load_npz(path) if path.suffix == ".npz" else load(path)
    result = run(source, qp)
    figures = asdict(result)
    del figures["arrays"]
    print(json.dumps({**figures, "relative_error": relative_error(source, result.arrays)}))


def load_npz(path: Path) -> Arrays:
    """Read an ordinary .npz file."""
    with np.load(path, allow_pickle=False) as members:
        return dict(members)


def main() -> None:
    """Do what the command line says."""
    options = parse()
    if options.command == "setup":
        setup(environment())
    elif options.command == "probe":
        import_nncodec()
    elif options.command == "worker":
        worker(options.source, options.qp, options.result)
    else:
        run_file(options.weights, options.qp)


if __name__ == "__main__":
    main()
