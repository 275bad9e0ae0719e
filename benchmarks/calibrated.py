"""Bytes at equal outputs: packing with and without calibration, and NNCodec.

    python benchmarks/calibrated.py [--only minilm efficientnet] [--nncodec] [--presets balanced]

Calibration, choices and results each have sentences or photographs of their own. The settings
are those that the library has by default; the aim of each row is found on the second set, and
bytes and outputs are those of the third.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import efficientnet
import minilm
import nncodec_bridge
import photographs
import torch
from checkpoints import fetch, load
from torch import nn

import dcz

COSINES = (0.99, 0.97, 0.999)
SIZES = (2_360_000, 1_770_000)
# Megabytes that MiniLM may take at most, by the cosine.
TARGETS = {0.999: 13.0, 0.99: 8.6, 0.97: 6.9}
RANDOM_TARGET = 10.6
AGREEMENTS = {2_360_000: 0.82, 1_770_000: 0.70}
MIXED = ("speech", "manual", "science")
LIMIT_SECONDS = 120
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Row:
    """One way to pack at one aim, with what came of it on the test set."""

    method: str
    aim: str
    megabytes: float
    cosine: float
    cosine_low: float
    agreement: float
    other_kind: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Sentences:
    """Batches of sentences: mixed kinds for calibration, choices and results, and another kind."""

    calibration: list[minilm.Batch]
    words: list[minilm.Batch]
    choice: list[minilm.Batch]
    test: list[minilm.Batch]
    other: list[minilm.Batch]


def sentences() -> Sentences:
    """512 sentences to calibrate with, 240 to choose by, 300 and 240 to test with."""
    tokenizer = minilm.Tokenizer()
    kinds = {kind: minilm.KINDS[kind]() for kind in (*MIXED, "readmes")}

    def part(start: int, each: int) -> list[minilm.Batch]:
        mixed = [text for kind in MIXED for text in kinds[kind][start : start + each]]
        return tokenizer.batches(mixed)

    mixed = [text for kind in MIXED for text in kinds[kind][:171]][:512]
    return Sentences(
        calibration=tokenizer.batches(mixed),
        words=tokenizer.batches(tokenizer.random_words(512)),
        choice=part(400, 80),
        test=part(700, 100),
        other=tokenizer.batches(kinds["readmes"][:240]),
    )


Pack = Callable[[float], tuple[int, dict[str, torch.Tensor]]]


def pack_minilm(preset: str, calibration: Any, scratch: Path) -> Pack:
    """A function that packs MiniLM within an error, and gives bytes and decoded weights."""

    def pack(error: float) -> tuple[int, dict[str, torch.Tensor]]:
        path = scratch / "minilm.dcz"
        recipe = dcz.Recipe(preset=preset, max_error=error, calibration=calibration)
        report = dcz.pack(fetch("minilm-l6"), path, recipe, jobs=1)
        return report.file_bytes, dcz.load_state_dict(path)

    return pack


def minilm_row(method: str, pack: Pack, cosine: float, start: float, data: Sentences) -> Row:
    """The bytes at which the mean cosine of the test sentences' embeddings is as wanted.

    Two files are packed, the second with the error that the first one's outcome on the choice
    set suggests; bytes are interpolated between the two by the logarithm of 1 - cosine.
    """
    original = minilm.load_model()
    points = []
    error = start
    for _ in range(2):
        size, state = pack(error)
        packed = minilm.load_model(state)
        chosen, test, other = (
            dcz.calibration.fidelity(original, packed, batches)
            for batches in (data.choice, data.test, data.other)
        )
        points.append((size, test, other))
        factor = (1 - cosine) / (1 - chosen.cosine)
        error *= factor if abs(math.log(factor)) > 0.1 else 0.8
    megabytes = _interpolate([(size, test.cosine) for size, test, _ in points], cosine)
    elsewhere = _interpolate([(size, other.cosine) for size, _, other in points], cosine)
    _, test, _ = points[-1]
    return Row(
        method,
        f"cosine {cosine}",
        megabytes,
        test.cosine,
        test.cosine_low,
        test.agreement,
        elsewhere,
    )


def _interpolate(points: Sequence[tuple[int, float]], cosine: float) -> float:
    """Megabytes at a cosine, by the logarithm of its distance from 1."""
    (size, c), (other_size, other_c) = points
    at, other_at = math.log(1 - c), math.log(1 - other_c)
    share = (math.log(1 - cosine) - at) / (other_at - at)
    return (size + share * (other_size - size)) / 1e6


def minilm_rows(presets: Sequence[str], with_nncodec: bool, scratch: Path) -> list[Row]:
    """All rows of MiniLM."""
    data = sentences()
    model = minilm.load_model()
    known = dcz.calibration.collect(model, data.calibration)
    words = dcz.calibration.collect(model, data.words)
    rows = []
    for cosine in COSINES:
        error = 2 * (1 - cosine)
        pack = pack_minilm("balanced", None, scratch)
        rows.append(_shown(minilm_row("balanced", pack, cosine, error / 10, data)))
        for preset in presets:
            pack = pack_minilm(preset, known, scratch)
            row = minilm_row(f"{preset}, calibrated", pack, cosine, error, data)
            limit = TARGETS[cosine] * (1 if preset == "balanced" else 0.97)
            rows.append(_shown(_judged(row, limit)))
    # Random words tell how sensitive the output is, and not which inputs go together.
    pack = pack_minilm("balanced", replace(words, moments={}), scratch)
    row = minilm_row("balanced, allocated by random words", pack, 0.99, 0.02, data)
    rows.append(_shown(_judged(row, RANDOM_TARGET)))
    if with_nncodec:
        ours = next(
            r for r in rows if r.method == "balanced, calibrated" and r.aim == "cosine 0.99"
        )
        rows.append(_shown(nncodec_row(data, ours)))
    return rows


def _judged(row: Row, limit: float) -> Row:
    return replace(row, target=f"<= {limit:.4g} MB", met=row.megabytes <= limit)


def nncodec_row(data: Sentences, ours: Row) -> Row:
    """NNCodec between the two quantization parameters around a cosine of 0.99."""
    arrays = load(fetch("minilm-l6"))
    original = minilm.load_model()
    points = []
    for qp in (-29, -30):
        result = nncodec_bridge.run(arrays, qp)
        state = {name: torch.from_numpy(a.copy()) for name, a in (arrays | result.arrays).items()}
        packed = minilm.load_model(state)
        found = dcz.calibration.fidelity(original, packed, data.test)
        points.append((result.bytes, found))
    megabytes = _interpolate([(size, found.cosine) for size, found in points], 0.99)
    last = points[-1][1]
    more = megabytes / ours.megabytes - 1
    return Row(
        f"NNCodec {nncodec_bridge.VERSION}",
        "cosine 0.99",
        megabytes,
        last.cosine,
        last.cosine_low,
        last.agreement,
        target=f">= 35% more than calibrated ({more:+.0%})",
        met=more >= 0.35,
    )


def efficientnet_rows(scratch: Path) -> list[Row]:
    """Agreement of the top class at given sizes, with the spread over the photographs' crops."""
    source = fetch("efficientnet-lite0")
    model = efficientnet.load(source)
    test = torch.split(photographs.crops(photographs.TEST, 160, seed=2), 8)
    crops = photographs.crops(photographs.CALIBRATION, 256, seed=0)
    count = len(photographs.CALIBRATION)
    images = [crops[first::count] for first in range(count)]  # a batch for each photograph
    known = dcz.calibration.collect(model, images)
    plain = dcz.Recipe(preset="balanced")
    calibrated = replace(plain, calibration=known)
    ways: dict[str, Callable[[Path, dcz.Recipe], dcz.Report]] = {
        "balanced": lambda path, aim: dcz.pack(source, path, aim, jobs=1),
        "balanced, calibrated": lambda path, aim: dcz.pack(source, path, aim, jobs=1),
        "balanced, by pack_model": lambda path, aim: dcz.pack_model(
            model, images, path, aim, jobs=1
        ),
    }
    rows = []
    for size in SIZES:
        for method, pack in ways.items():
            path = scratch / "efficientnet.dcz"
            recipe = plain if method == "balanced" else calibrated
            report = pack(path, replace(recipe, target_size=size))
            packed = efficientnet.EfficientNetLite0().eval()
            dcz.load_model(packed, path)
            found = dcz.calibration.fidelity(model, packed, test)
            row = Row(
                method,
                f"{size / 1e6:g} MB",
                report.file_bytes / 1e6,
                found.cosine,
                found.cosine_low,
                found.agreement,
                target=_spread(model, packed, test),
            )
            rows.append(_shown(_judged_agreement(row, AGREEMENTS[size])))
    return rows


def _judged_agreement(row: Row, goal: float) -> Row:
    if row.method == "balanced":
        return row
    target = f"agreement >= {goal:g} (quarters {row.target})"
    return replace(row, target=target, met=row.agreement >= goal)


def _spread(model: nn.Module, packed: nn.Module, batches: Sequence[torch.Tensor]) -> str:
    """Least and greatest agreement over quarters of the crops."""
    quarter = max(len(batches) // 4, 1)
    parts = [batches[start : start + quarter] for start in range(0, 4 * quarter, quarter)]
    found = [dcz.calibration.fidelity(model, packed, part).agreement for part in parts]
    return f"{min(found):.2f} to {max(found):.2f}"


def cost() -> tuple[float, float, float]:
    """CPU seconds of collecting for MiniLM and packing it; megabytes at the peak and before."""
    command = [sys.executable, __file__, "--measure"]
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=single, check=True, stdout=subprocess.PIPE, text=True)
    seconds, megabytes, before = json.loads(done.stdout.splitlines()[-1])
    return seconds, megabytes, before


def measure() -> None:
    """Collect and pack once; print the seconds, and the peak memory then and before."""
    torch.set_num_threads(1)
    tokenizer, texts = minilm.Tokenizer(), minilm.manual()[:512]
    batches, model = tokenizer.batches(texts), minilm.load_model()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "minilm.cal.safetensors"
        dcz.calibration.collect(model, batches, path)
        recipe = dcz.Recipe(preset="balanced", max_error=0.02, calibration=path)
        dcz.pack(fetch("minilm-l6"), Path(folder) / "minilm.dcz", recipe, jobs=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps((time.process_time() - start, peak, before)))


def _shown(row: Row) -> Row:
    print(row, flush=True)
    return row


def page(tables: dict[str, list[Row]], seconds: float, megabytes: float, before: float) -> str:
    """The results as a page."""
    lines = ["# Bytes at equal outputs", ""]
    lines += [
        "Written by `python benchmarks/calibrated.py`; what the columns mean stands there.",
        "",
    ]
    for name, rows in tables.items():
        lines += [f"## {name}", ""]
        lines.append(
            "| method | aim | MB | mean cosine | 5th percentile | agreement "
            "| MB for another kind of text | target | met |"
        )
        lines.append("|---|---|---|---|---|---|---|---|---|")
        for r in rows:
            other = "" if r.other_kind is None else f"{r.other_kind:.2f}"
            met = {None: "", True: "yes", False: "**no**"}[r.met]
            lines.append(
                f"| {r.method} | {r.aim} | {r.megabytes:.2f} | {r.cosine:.4f} | "
                f"{r.cosine_low:.4f} | {r.agreement:.3f} | {other} | {r.target} | {met} |"
            )
        lines.append("")
    lines += [
        f"Collecting from 512 sentences and packing MiniLM took {seconds:.0f} CPU seconds on one "
        f"core (at most {LIMIT_SECONDS}), and {megabytes - before:.0f} MB at its peak beside the "
        f"{before:.0f} MB of PyTorch, model and sentences (at most 3 x 91 + 500 = 773 MB).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure what was asked for, and write the page."""
    parser = argparse.ArgumentParser(description="Bytes at equal outputs.")
    add = parser.add_argument
    add("--only", nargs="*", default=["minilm", "efficientnet"])
    add("--presets", nargs="*", default=["balanced"], help="calibrated presets for MiniLM")
    add("--nncodec", action="store_true", help="also run NNCodec: minutes")
    add("-o", dest="folder", type=Path, default=HERE)
    add("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure()
        return
    torch.set_num_threads(1)
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        if "minilm" in options.only:
            rows = minilm_rows(options.presets, options.nncodec, Path(folder))
            tables["MiniLM-L6"] = rows
        if "efficientnet" in options.only:
            tables["efficientnet-lite0"] = efficientnet_rows(Path(folder))
    seconds, megabytes, before = cost()
    table = {name: [asdict(row) for row in rows] for name, rows in tables.items()}
    table["cost"] = [{"seconds": seconds, "megabytes": megabytes, "before": before}]
    (options.folder / "calibrated.json").write_text(json.dumps(table, indent=1) + "\n")
    (options.folder / "calibrated.md").write_text(page(tables, seconds, megabytes, before))
    missed = [row for rows in tables.values() for row in rows if row.met is False]
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
