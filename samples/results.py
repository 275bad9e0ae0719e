"""What the recipes reached, kept in `results.json`; the tables and the plot that come from it.

python samples/results.py                     prints the tables of RECIPES.md
python samples/results.py --plot results.svg  plots error against size (needs Matplotlib)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PLACE = Path(__file__).with_name("results.json")
DENSE_BYTES = {"lenet-300-100": 1_066_440, "lenet5": 1_724_320}
NAMES = {"lenet-300-100": "LeNet-300-100", "lenet5": "LeNet-5"}
# Network, method, ratio, test error in percent, as the papers state them: Han, Mao and Dally 2016;
# Louizos, Ullrich and Welling 2017; Havasi, Peharz and Hernandez-Lobato 2019.
PUBLISHED = (
    ("lenet-300-100", "Deep Compression", 40, 1.58),
    ("lenet5", "Deep Compression", 39, 0.74),
    ("lenet5", "Bayesian Compression", 771, 1.0),
    ("lenet5", "MIRACLE", 555, 0.69),
    ("lenet5", "MIRACLE, smaller", 1110, 0.96),
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
    """Return the table of networks as Markdown."""
    lines = [
        "| network | method | bytes | ratio | test error | dense |",
        "|---|---|---|---|---|---|",
    ]
    for network, name in NAMES.items():
        for method, ratio, error in (row[1:] for row in PUBLISHED if row[0] == network):
            size = f"about {DENSE_BYTES[network] / ratio:,.0f}"
            lines.append(f"| {name} | {method} | {size} | {ratio}x | {error:.2f}% | |")
        for row in rows:
            if row["network"] == network:
                lines.append(
                    f"| {name} | **dcz, `{row['recipe']}`** | {row['bytes']:,} | "
                    f"**{DENSE_BYTES[network] / row['bytes']:.0f}x** | {row['test_error']:.2%} | "
                    f"{row['dense_test_error']:.2%} |"
                )
    return "\n".join(lines)


def stages(rows: list[Row]) -> str:
    """Return the table of stages as Markdown."""
    lines = ["| network | recipe | pruned | shared | coded | file |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [f"{size:,} ({DENSE_BYTES[row['network']] / size:.0f}x)" for size in row["stages"]]
        lines.append(f"| {NAMES[row['network']]} | `{row['recipe']}` | {' | '.join(cells)} |")
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
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(NAMES), figsize=(10, 4))
    for panel, (network, name) in zip(panels, NAMES.items(), strict=True):
        for method, ratio, error in (row[1:] for row in PUBLISHED if row[0] == network):
            size = DENSE_BYTES[network] / ratio
            panel.plot(size, error, "s", color="grey")
            panel.annotate(
                method, (size, error), fontsize=8, xytext=(4, 4), textcoords="offset points"
            )
        for row in (row for row in rows if row["network"] == network):
            error = 100 * row["test_error"]
            panel.plot(row["bytes"], error, "o", color="tab:blue")
            label = f"dcz {row['recipe']}"
            panel.annotate(
                label,
                (row["bytes"], error),
                fontsize=8,
                xytext=(4, -10),
                textcoords="offset points",
            )
        panel.set(xscale="log", title=name, xlabel="bytes of the file", ylabel="test error, %")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Print the tables, or draw the plot."""
    parser = argparse.ArgumentParser(description="What the recipes reached.")
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".svg or .png")
    options = parser.parse_args()
    rows = load()
    if options.plot is not None:
        plot(rows, options.plot)
        return
    print(summary(rows), stages(rows), layers(rows), sep="\n\n")


if __name__ == "__main__":
    main()
