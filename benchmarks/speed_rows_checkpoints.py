"""Rows on whole checkpoints: loading and packing them, beside what else loads and packs them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nncodec_bridge
import references
import timing
import zstandard
from nncodec_bridge import relative_error
from speed_table import Experiment, Row
from workbench import Workbench

import dcz
from dcz.formats.checkpoints.registry import open_checkpoint

NNCODEC_QP = -30
LOAD, PACK = "dcz.load_state_dict", "dcz.pack, 5 bits"


def load(bench: Workbench) -> list[Experiment]:
    """Load 5-bit checkpoints, beside loaders of the original and of a safetensors copy."""
    return [_load(bench, name) for name in bench.names]


def _load(bench: Workbench, name: str) -> Experiment:
    import safetensors.numpy
    import safetensors.torch

    source, packed = bench.source(name), bench.packed(name, bits=5)
    copy = bench.safetensors(name)
    contestants: dict[str, Callable[[], object]] = {
        LOAD: partial(dcz.load_state_dict, packed, jobs=1),
        "dcz.load_file": partial(dcz.load_file, packed, jobs=1),
        "safetensors.torch.load_file": partial(safetensors.torch.load_file, copy),
        "safetensors.numpy.load_file": partial(safetensors.numpy.load_file, copy),
    }
    if source.suffix != ".safetensors":
        contestants["torch.load"] = partial(torch_load, source)
    timing.run_on_one_core()
    with at_work("decompress", copy) as (others, remarks):
        seconds = timing.samples({**contestants, **others}, max(bench.runs, 9))
    experiment = Experiment(f"{name}, load", _weights(bench, name), seconds, remarks=remarks)
    goal = 1.5 if name == "craft" else None
    experiment.compare("load_state_dict / torch.load of the original", LOAD, "torch.load", goal)
    for other in ("safetensors.torch.load_file", "zipnn decompress", "blosc2 decompress"):
        experiment.compare(f"load_state_dict / {other}", LOAD, other)
    return experiment


def torch_load(path: Path) -> object:
    """Load with PyTorch, nothing executed."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)


def pack(bench: Workbench) -> list[Experiment]:
    """Pack all stages at 5 and 8 bits, from open checkpoints and from files, beside zstd -3."""
    experiments = [_pack(bench, name) for name in bench.names]
    by_name = dict(zip(bench.names, experiments, strict=True))
    small, large = by_name["efficientnet-lite0"], by_name["craft"]
    median = small.per_weight(PACK) / large.per_weight(PACK)
    best = min(small.seconds[PACK]) / min(large.seconds[PACK]) * large.weights / small.weights
    what = "time per weight / CRAFT's, pack at 5 bits"
    small.rows.append(Row(what, small.title, median, 2.0, at_most=True, best=best))
    return experiments


def _pack(bench: Workbench, name: str) -> Experiment:
    source = bench.source(name)
    content = source.read_bytes()
    compressor = zstandard.ZstdCompressor(3)
    timing.run_on_one_core()
    with open_checkpoint(source) as opened, at_work("compress", source) as (others, remarks):
        packing = partial(_packing, bench.scratch / "timed.dcz")
        contestants: dict[str, Callable[[], object]] = {
            PACK: packing(opened, bits=5),
            "dcz.pack, 8 bits": packing(opened, bits=8),
            "dcz.pack, sparsity 0.9, 5 bits": packing(opened, sparsity=0.9, bits=5),
            "dcz.pack, default": packing(opened),
            "dcz.pack, 5 bits, from the file": packing(source, bits=5),
            "zstd -3": partial(compressor.compress, content),
            "zstd -3, from file to file": partial(compress_file, source, bench.scratch / "z"),
        }
        seconds = timing.samples({**contestants, **others}, bench.runs)
    experiment = Experiment(f"{name}, pack", _weights(bench, name), seconds, remarks=remarks)
    goals = (1.0, 0.4) if name == "craft" else (None, None)
    experiment.compare("pack at 5 bits / zstd -3 of the original", PACK, "zstd -3", goals[0])
    experiment.compare("pack at 8 bits / zstd -3", "dcz.pack, 8 bits", "zstd -3", goals[1])
    file, pruned = "dcz.pack, 5 bits, from the file", "dcz.pack, sparsity 0.9, 5 bits"
    experiment.compare("pack file / zstd -3 file to file", file, "zstd -3, from file to file")
    experiment.compare("pack at sparsity 0.9 / zstd -3", pruned, "zstd -3")
    experiment.compare("pack by default / zstd -3", "dcz.pack, default", "zstd -3")
    for other in ("zipnn compress", "blosc2 compress"):
        experiment.compare(f"pack at 5 bits / {other}", PACK, other)
    return experiment


def _packing(dest: Path, source: Any, **settings: Any) -> Callable[[], object]:
    return partial(dcz.pack, source, dest, dcz.Recipe(**settings), jobs=1)


def compress_file(source: Path, dest: Path) -> None:
    """Compress a file with zstd into another one."""
    with source.open("rb") as reader, dest.open("wb") as writer:
        zstandard.ZstdCompressor(3).copy_stream(reader, writer)


def _weights(bench: Workbench, name: str) -> int:
    return sum(array.size for array in bench.arrays(name).values())


@contextlib.contextmanager
def at_work(action: str, path: Path) -> Iterator[tuple[dict[str, Callable[[], object]], list[str]]]:
    """Give the contestants of the other environment, and a remark on each that is missing."""
    with contextlib.ExitStack() as stack:
        contestants: dict[str, Callable[[], object]] = {}
        remarks = []
        for method in references.NEEDS:
            if not references.available(method):
                remarks.append(f"{method} is not installed (`benchmarks/references.py setup`)")
                continue
            reference = stack.enter_context(references.Reference(method, path))
            contestants[method] = reference.contestant(action)
            compressed, size = map(int, reference.sizes.split())
            remarks.append(f"{method} gives {compressed:,} of {size:,} bytes, without loss")
        yield contestants, remarks


def nncodec(bench: Workbench) -> list[Experiment]:
    """Pack and load CRAFT in turn with NNCodec, at about the same error."""
    experiment = Experiment("craft, NNCodec")
    if not nncodec_bridge.available():
        experiment.remarks.append("not installed (`benchmarks/nncodec_bridge.py setup`)")
        return [experiment]
    arrays = bench.arrays("craft")
    packed, timed = bench.packed("craft", bits=5), bench.scratch / "timed.dcz"
    found: list[nncodec_bridge.Result] = []

    def round_trip() -> timing.SelfTimed:
        found[:] = [nncodec_bridge.run(arrays, NNCODEC_QP)]
        taken = {"NNCodec encode": found[0].encode_seconds}
        return timing.SelfTimed({**taken, "NNCodec decode": found[0].decode_seconds})

    timing.run_on_one_core()
    with open_checkpoint(bench.source("craft")) as opened:
        contestants: dict[str, Callable[[], object]] = {
            PACK: _packing(timed, opened, bits=5),
            LOAD: partial(dcz.load_state_dict, packed, jobs=1),
            "NNCodec": round_trip,
        }
        rounds = 1 if bench.quick else bench.runs
        experiment.seconds = timing.samples(contestants, rounds)
    experiment.weights = sum(array.size for array in arrays.values())
    experiment.compare("load_state_dict / NNCodec's decoder", LOAD, "NNCodec decode", 25.0)
    experiment.compare("pack at 5 bits / NNCodec's encoder", PACK, "NNCodec encode", 30.0)
    experiment.remarks.append(
        f"qp {NNCODEC_QP} gives {found[0].bytes:,} bytes at a relative error of"
        f" {relative_error(arrays, found[0].arrays):.2e}; dcz {packed.stat().st_size:,} bytes at"
        f" {relative_error(arrays, dcz.load_file(packed)):.2e}"
    )
    return [experiment]
