"""Repair without labels: how often a packed network agrees with the original, before and after.

    python benchmarks/repair.py

EfficientNet-Lite0, packed to a size, then recalibrated on crops of some photographs and tested on
crops of others. The corrections live in tensors that are stored anyway: they cost no bytes.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path

import checkpoints
import efficientnet
import photographs
import torch
from torch import Tensor, nn

import dcz

SIZES = (2_360_000, 1_770_000)


@torch.no_grad()
def classes(network: nn.Module, images: Tensor) -> Tensor:
    """Return the class of each image."""
    return torch.cat([network(part).argmax(1) for part in torch.split(images, 64)])


def agreement(network: nn.Module, images: Tensor, wanted: Tensor) -> float:
    """Return the share of images that get the wanted class."""
    return float((classes(network, images) == wanted).double().mean())


def packed(original: nn.Module, path: Path, recipe: dcz.Recipe) -> nn.Module:
    """Return the network after packing it to `path`."""
    dcz.save_state_dict(original.state_dict(), path, recipe)
    network = copy.deepcopy(original)
    dcz.load_model(network, path)
    return network


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--calibration", type=int, default=256, help="crops to calibrate on")
    parser.add_argument("--test", type=int, default=512, help="crops to test on")
    parser.add_argument("--size", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    original = efficientnet.load(checkpoints.fetch("efficientnet-lite0"))
    calibration = photographs.crops(photographs.CALIBRATION, options.calibration, seed=1)
    test = photographs.crops(photographs.TEST, options.test, seed=2)
    wanted = classes(original, test)
    print(f"{len(wanted)} test crops, {len(torch.unique(wanted))} classes among them")
    for size in options.size:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "packed.dcz"
            recipe = dcz.Recipe(preset=options.preset, target_size=size)
            network = packed(original, path, recipe)
            before = agreement(network, test, wanted)
            dcz.training.recalibrate(original, network, calibration)
            after = agreement(network, test, wanted)
            print(f"{path.stat().st_size:,} bytes: {before:.3f} -> {after:.3f}", flush=True)


if __name__ == "__main__":
    main()
