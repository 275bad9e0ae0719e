"""Train a network of `networks.py` on MNIST on one core, compress it while training, pack it.

    python samples/train_mnist.py lenet5                    dense, fp32: lenet5.safetensors
    python samples/train_mnist.py lenet5 --recipe paper     prune, share, Huffman: lenet5.paper.dcz
    python samples/train_mnist.py lenet5 --recipe best      distil, prune, freeze: lenet5.dcz
    python samples/train_mnist.py lenet5 --recipe smaller   the same, further: lenet5.smaller.dcz

Settings were chosen by the validation split. A run looks at the test split at its end, once for
each network that the table has an error of: the dense one that `paper` starts from, and what comes
out of the packed file. Nothing depends on what it sees there.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import best
import dense
import loops
import mnist
import paper
import results
from loops import Digits
from networks import NETWORKS
from results import Row
from settings import SETTINGS
from storage import save
from torch import nn

import dcz

RECIPES = ("dense", "paper", *SETTINGS)


@dataclass(frozen=True, slots=True)
class Splits:
    """Train on the first, choose by the second, look at the third at the end."""

    train: Digits
    check: Digits
    test: Digits


def load() -> Splits:
    """Read the digits."""
    data = mnist.load()
    return Splits(*map(loops.as_digits, (data.train, data.validation, data.test)))


def unpacked(name: str, path: Path) -> nn.Module:
    """Return the network that the packed file holds."""
    network = NETWORKS[name](0.0, 0.0)
    dcz.load_model(network, path)
    return network


def run_dense(options: argparse.Namespace, data: Splits) -> nn.Module:
    """Train the dense network that every recipe starts from."""
    settings = dense.SETTINGS[options.network]
    if options.epochs is not None:
        settings = replace(settings, epochs=options.epochs)
    return dense.train_dense(options.network, settings, options.seed, data.train, data.check)


def finish_dense(options: argparse.Namespace, data: Splits, network: nn.Module) -> None:
    """Look at the test split and save the dense network."""
    test_error = loops.error_rate(network, data.test)
    output = options.output or Path(__file__).with_name(f"{options.network}.safetensors")
    note = {"test_error": f"{test_error:.4f}", "seed": str(options.seed), "command": command()}
    save(network, output, note)
    check = loops.error_rate(network, data.check)
    print(f"{output}: validation error {check:.2%}, test error {test_error:.2%}")


def compressed(options: argparse.Namespace, data: Splits) -> tuple[nn.Module, Row]:
    """Return what the recipe makes, and what a row says of the dense network before it."""
    name, seed = options.network, options.seed
    if options.recipe in SETTINGS:
        network, seconds = best.compress(options.recipe, name, seed, data.train, data.check)
        return network, {"earlier_seconds": seconds} if seconds else {}
    network = run_dense(options, data)
    before = {"dense_test_error": loops.error_rate(network, data.test)}
    return paper.compress(name, network, seed, data.train, data.check), before


def finish_packed(
    options: argparse.Namespace, data: Splits, network: nn.Module, before: Row
) -> None:
    """Pack, look at the test split, print the report's figures, and record them if asked."""
    name = options.network if options.recipe == "best" else f"{options.network}.{options.recipe}"
    output = options.output or Path(__file__).with_name(f"{name}.dcz")
    preset = "paper" if options.recipe == "paper" else "max"
    pack(network, output, preset)
    after = unpacked(options.network, output)
    check, test_error = (loops.error_rate(after, split) for split in (data.check, data.test))
    report = pack(network, output, preset, {"test_error": f"{test_error:.4f}"})
    for stage in report.stages:
        print(f"  {stage.stage:<10}{stage.bytes:>10,} bytes {stage.ratio:>9.1f}x")
    for name, (kept, index, gap) in layers(report).items():
        print(f"  {name:<10}{kept:>10.1%} kept, {index:.1f} + {gap:.1f} bits each")
    print(f"{output}: {report.file_bytes:,} bytes, {report.ratio:.1f}x")
    print(f"validation error {check:.2%}; test error {test_error:.2%} {before or ''}")
    if options.record:
        results.record(
            {
                "network": options.network,
                "recipe": options.recipe,
                "bytes": report.file_bytes,
                "test_error": test_error,
                "validation_error": check,
                **before,
                "stages": [stage.bytes for stage in report.stages],
                "layers": layers(report),
                "seconds": round(time.process_time()),
                "command": command(),
            }
        )


def pack(
    network: nn.Module, path: Path, preset: str, notes: dict[str, str] | None = None
) -> dcz.Report:
    """Write the network; packing notices the few values of each tensor and loses nothing."""
    state = dcz.training.plain_state_dict(network)
    return dcz.save_state_dict(state, path, dcz.Recipe(preset=preset), notes=notes)


def layers(report: dcz.Report) -> dict[str, tuple[float, float, float]]:
    """Return of each layer the share of weights kept, and bits of an index and of a position."""
    found = {}
    for row in report.tensors:
        name, _, kind = row.name.rpartition(".")
        if kind == "weight":
            bits = {stream.stream: stream.coded_bits for stream in row.streams}
            gaps, survivors = bits.pop("gap", 0), max(row.nonzero, 1)
            indices = sum(bits.values()) or row.bits
            found[name] = (row.nonzero / row.numel, indices / survivors, gaps / survivors)
    return found


def command() -> str:
    """Return the command line that a reader would repeat."""
    given = [word for word in sys.argv[1:] if word != "--record"]
    return " ".join(["python samples/train_mnist.py", *given])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train and compress a network on MNIST.")
    parser.add_argument("network", choices=sorted(NETWORKS))
    parser.add_argument("--recipe", choices=RECIPES, default="dense")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="of the dense training, not the settings' own")
    parser.add_argument("--record", action="store_true", help="keep the outcome in results.json")
    parser.add_argument("-o", "--output", type=Path, help="default: beside this script")
    options = parser.parse_args(arguments)
    if options.network not in SETTINGS.get(options.recipe, NETWORKS):
        parser.error(f"there is no recipe {options.recipe!r} for {options.network}")
    return options


def main() -> None:
    """Train, compress, pack, report."""
    options = parse()
    loops.run_on_one_core()
    data = load()
    if options.recipe == "dense":
        finish_dense(options, data, run_dense(options, data))
    else:
        finish_packed(options, data, *compressed(options, data))
    print(f"{time.process_time():.0f} s of processor time on one core")


if __name__ == "__main__":
    main()
