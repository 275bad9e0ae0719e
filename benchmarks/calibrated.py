"""Bytes at equal outputs: packing with and without calibration, and NNCodec.

    python benchmarks/calibrated.py [--only minilm efficientnet] [--nncodec] [--presets balanced]

Calibration, choices and results each have sentences or photographs of their own. The settings
are those that the library has by default; the aim of each row is found on the second set, and
bytes and outputs are those of the third.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import minilm
import torch
from calibrated_efficientnet import efficientnet_rows
from calibrated_minilm import minilm_rows
from calibrated_rows import Row
from checkpoints import fetch

import dcz

LIMIT_SECONDS = 120
HERE = Path(__file__).parent


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
    before = _peak_megabytes()
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "minilm.cal.safetensors"
        dcz.calibration.collect(model, batches, path)
        recipe = dcz.Recipe(preset="balanced", max_error=0.02, calibration=path)
        dcz.pack(fetch("minilm-l6"), Path(folder) / "minilm.dcz", recipe, jobs=1)
    print(json.dumps((time.process_time() - start, _peak_megabytes(), before)))


def _peak_megabytes() -> float:
    """Of this program alone: what a process had before it became this one does not count."""
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1e3


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
