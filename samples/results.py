"""What the recipes reached, kept in `results.json`; the tables and the plot that come from it.

python samples/results.py                     prints the tables of RECIPES.md
python samples/results.py --plot results.svg  plots error against size (needs Matplotlib)
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLACE = Path(__file__).with_name("results.json")
DENSE_BYTES = {"lenet-300-100": 1_066_440, "lenet5": 1_724_320}
NAMES = {"lenet-300-100": "LeNet-300-100", "lenet5": "LeNet-5"}


@dataclass(frozen=True, slots=True)
class Published:
    """A result as its paper states it: ratios after each stage, test errors in percent."""

    network: str
    method: str
    ratio: int
    error: float
    pruned: int | None = None
    shared: int | None = None
    dense_error: float | None = None


SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)  # marks of the plot's axis, in bytes

# Han, Mao and Dally 2016, tables 1 to 3; Louizos, Ullrich and Welling 2017; Havasi, Peharz and
# Hernandez-Lobato 2019.
PUBLISHED = (
    Published("lenet-300-100", "Deep Compression", 40, 1.58, 12, 32, 1.64),
    Published("lenet5", "Deep Compression", 39, 0.74, 12, 33, 0.80),
    Published("lenet5", "Bayesian Compression", 771, 1.0),
    Published("lenet5", "MIRACLE", 555, 0.69),
    Published("lenet5", "MIRACLE, smaller", 1110, 0.96),
)
# Share of the weights kept, bits of an index and of a gap after Huffman coding: Deep Compression,
# tables 2 and 3.
PAPER_LAYERS = {
    "lenet-300-100": {
        "fc1": (0.08, 4.4, 3.7),
        "fc2": (0.09, 4.4, 4.3),
        "fc3": (0.26, 4.3, 3.2),
    },
    "lenet5": {
        "conv1": (0.66, 7.2, 1.5),
        "conv2": (0.12, 7.2, 3.9),
        "fc1": (0.08, 4.5, 4.5),
        "fc2": (0.19, 5.2, 3.7),
    },
}

Row = dict[str, Any]


def load() -> list[Row]:
    """Return the rows that were recorded."""
    rows: list[Row] = json.loads(PLACE.read_text()) if PLACE.exists() else []
    return rows


def record(row: Row) -> None:
    """Keep a row, in the place of the one of the same network and recipe."""
    key = (row["network"], row["recipe"])
    rows = [old for old in load() if (old["network"], old["recipe"]) != key]
    rows = sorted([*rows, row], key=lambda r: (r["network"], -r["bytes"]))
    PLACE.write_text(json.dumps(rows, indent=1) + "\n")


def summary(rows: list[Row]) -> str:
    """Return the table of networks as Markdown, published results above ours."""
    lines = [
        "| network | method | pruned | shared | coded | file | test error | dense |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for network, name in NAMES.items():
        theirs = (_published_cells(found) for found in PUBLISHED if found.network == network)
        ours = (_cells(row) for row in rows if row["network"] == network)
        lines += [f"| {name} | {' | '.join(cells)} |" for cells in (*theirs, *ours)]
    return "\n".join(lines)


def _published_cells(found: Published) -> list[str]:
    size = round(DENSE_BYTES[found.network] / found.ratio, -2)
    stages = [""] * 3
    if found.pruned:
        stages = [f"{ratio}x" for ratio in (found.pruned, found.shared, found.ratio)]
    dense = f"{found.dense_error:.2f}%" if found.dense_error else ""
    return [
        found.method,
        *stages,
        f"about {size:,.0f} bytes, {found.ratio}x",
        f"{found.error:.2f}%",
        dense,
    ]


def _cells(row: Row) -> list[str]:
    ratios = [DENSE_BYTES[row["network"]] / size for size in (*row["stages"][:3], row["bytes"])]
    # Only the paper's coder has its stages: another codes values and positions at once.
    stages = [f"{ratio:.0f}x" for ratio in ratios[:3]] if row["recipe"] == "paper" else [""] * 3
    file = f"{row['bytes']:,} bytes, **{ratios[3]:.1f}x**"
    dense = f"{row['dense_test_error']:.2%}" if "dense_test_error" in row else ""
    return [f"dcz, `{row['recipe']}`", *stages, file, f"{row['test_error']:.2%}", dense]


def commands(rows: list[Row]) -> str:
    """Return the table of what made the rows as Markdown."""
    lines = ["| command | validation error | processor time |", "|---|---|---|"]
    for row in rows:
        minutes = (row["seconds"] + row.get("earlier_seconds", 0)) / 60
        lines.append(f"| `{row['command']}` | {row['validation_error']:.2%} | {minutes:.0f} min |")
    return "\n".join(lines)


def layers(rows: list[Row]) -> str:
    """Return the tables of layers as Markdown: ours, the paper's in brackets."""
    lines = [
        "| network | layer | kept | bits an index | bits a position |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if row["recipe"] != "paper":
            continue
        for layer, theirs in PAPER_LAYERS[row["network"]].items():
            kept, index, gap = row["layers"][layer]
            lines.append(
                f"| {NAMES[row['network']]} | {layer} | {kept:.1%} ({theirs[0]:.0%}) | "
                f"{index:.1f} ({theirs[1]}) | {gap:.1f} ({theirs[2]}) |"
            )
    return "\n".join(lines)


def plot(rows: list[Row], path: Path) -> None:
    """Draw test error against size, published results beside ours."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "dcz"  # equal rows, equal file
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(NAMES), figsize=(10, 4))
    for panel, (network, name) in zip(panels, NAMES.items(), strict=True):
        for found in (found for found in PUBLISHED if found.network == network):
            _mark(panel, DENSE_BYTES[network] / found.ratio, found.error, found.method, "grey")
        for row in (row for row in rows if row["network"] == network):
            label = f"dcz {row['recipe']}"
            _mark(panel, row["bytes"], 100 * row["test_error"], label, "tab:blue")
        panel.set(xscale="log", title=name, xlabel="bytes of the file", ylabel="test error, %")
        panel.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        panel.set_xticks([], minor=True)
        panel.set_xlim(SIZES[0], 2 * SIZES[-1])
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _mark(panel: Any, size: float, error: float, text: str, color: str) -> None:
    panel.plot(size, error, "o", color=color)
    panel.annotate(text, (size, error), (4, 4), textcoords="offset points", fontsize=8, color=color)


def main() -> None:
    """Print the tables, or draw the plot."""
    parser = argparse.ArgumentParser(description="What the recipes reached.")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png")
    options = parser.parse_args()
    rows = load()
    if options.plot is not None:
        plot(rows, options.plot)
        return
    print(summary(rows), layers(rows), commands(rows), sep="\n\n")


if __name__ == "__main__":
    main()
