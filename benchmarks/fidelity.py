"""What dcz's default does to the outputs of real networks, at equal bytes.

    python benchmarks/fidelity.py [--only minilm crepe] [-o FOLDER]

Networks that `--only` leaves out keep the figures of the run before. The language models want the
packages gguf and tokenizers, NudeNet and the ViT onnx and onnxruntime, networks of images Pillow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from fidelity_audio import pitch, speaker
from fidelity_images import classifier, focus_finder, object_detector, reader, text_detector
from fidelity_network import Network
from fidelity_page import page, reached
from fidelity_rows import Measured, measure, restored
from fidelity_speech import voice_detector
from fidelity_text import gemma3, sentences, smollm

HERE = Path(__file__).parent
NETWORKS: dict[str, Callable[[], Network]] = {
    "minilm": sentences,
    "efficientnet": classifier,
    "smollm2": smollm,
    "gemma3": gemma3,
    "crepe": partial(pitch, "crepe"),
    "crepe-tiny": partial(pitch, "crepe-tiny"),
    "resemblyzer": speaker,
    "silero-vad": voice_detector,
    "craft": text_detector,
    "english-g2": reader,
    "nudenet": object_detector,
    "vit-focus": focus_finder,
}


def kept(path: Path) -> dict[str, Measured]:
    """What the run before measured, by network."""
    if not path.exists():
        return {}
    return {name: restored(figures) for name, figures in json.loads(path.read_text()).items()}


def main() -> None:
    """Measure what was asked for, and write the page after each network."""
    parser = argparse.ArgumentParser(description="Outputs of real networks at equal bytes.")
    add = parser.add_argument
    add("--only", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    add("-o", dest="folder", type=Path, default=HERE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = kept(options.folder / "fidelity.json")
    for name in options.only:
        found[name] = measure(NETWORKS[name]())
        write(options.folder, found)
    sys.exit(not reached(list(found.values())))


def write(folder: Path, found: dict[str, Measured]) -> None:
    """Write both files, with the networks in this module's order."""
    ordered = {name: found[name] for name in NETWORKS if name in found}
    figures = {name: asdict(each) for name, each in ordered.items()}
    (folder / "fidelity.json").write_text(json.dumps(figures, indent=1) + "\n")
    missing = [name for name in NETWORKS if name not in found or not found[name].complete]
    (folder / "fidelity.md").write_text(page(list(ordered.values()), missing))


if __name__ == "__main__":
    main()
