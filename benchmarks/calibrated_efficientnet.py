"""EfficientNet-Lite0 at equal bytes: how often its class is the original's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import efficientnet
import photographs
import torch
from calibrated_rows import Row, shown
from checkpoints import fetch
from torch import nn

import dcz

SIZES = (2_360_000, 1_770_000)
AGREEMENTS = {2_360_000: 0.82, 1_770_000: 0.70}


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
            rows.append(shown(_judged_agreement(row, AGREEMENTS[size])))
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
