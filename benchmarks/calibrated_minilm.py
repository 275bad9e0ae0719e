"""MiniLM-L6 at equal embeddings: bytes with and without calibration, and NNCodec's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import minilm
import nncodec_bridge
import torch
from calibrated_rows import Row, shown
from checkpoints import fetch, load

import dcz

COSINES = (0.99, 0.97, 0.999)
# Megabytes at most, by the cosine.
TARGETS = {0.999: 13.0, 0.99: 8.6, 0.97: 6.9}
RANDOM_TARGET = 10.6
MIXED = ("speech", "manual", "science")


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
        rows.append(shown(minilm_row("balanced", pack, cosine, error / 10, data)))
        for preset in presets:
            pack = pack_minilm(preset, known, scratch)
            row = minilm_row(f"{preset}, calibrated", pack, cosine, error, data)
            limit = TARGETS[cosine] * (1 if preset == "balanced" else 0.97)
            rows.append(shown(_judged(row, limit)))
    # Random words tell how sensitive the output is, and not which inputs go together.
    pack = pack_minilm("balanced", replace(words, moments={}), scratch)
    row = minilm_row("balanced, allocated by random words", pack, 0.99, 0.02, data)
    rows.append(shown(_judged(row, RANDOM_TARGET)))
    if with_nncodec:
        ours = next(
            r for r in rows if r.method == "balanced, calibrated" and r.aim == "cosine 0.99"
        )
        rows.append(shown(nncodec_row(data, ours)))
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
