"""The Markdown page of what `fidelity.py` measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from fidelity_rows import (
    HIGHEST,
    HIGHEST_MEDIAN,
    LEVELS,
    SCOPES,
    WANTED,
    Measured,
    Pair,
    Point,
    ratios,
)
from results import table

ABOUT = (
    "Written by `python benchmarks/fidelity.py`. Each network is packed with the preset `balanced`"
    " into the same bytes twice: with errors counted as dcz does by default"
    ' (`error_of="layers"`), and over all weights together (`error_of="model"`).'
    " What is compared are the outputs for fixed inputs, with those of the network as published."
    " A ratio below 1 means that the default's outputs are nearer to the original's."
)
ABOUT_CHOSEN = (
    "What errors count for by a tensor's role was chosen on the networks marked so;"
    " on those held out, nothing was."
)
ABOUT_PRUNED = (
    f"Output errors after pruning to a sparsity and sharing {LEVELS} centroids per tensor, without"
    " any training afterwards, by `scope`; the least of each row is bold."
)
EQUAL = ("network", "", "measure", "MB", "by layers", "over the model", "ratio")
FIXED = ("network", "MB", "measure", "by layers", "over the model", "ratio", "same class")


def reached(measured: Sequence[Measured]) -> bool:
    """Whether no ratio is too high, and their median is low enough."""
    found = list(ratios(measured))
    return max(found) <= HIGHEST and statistics.median(found) <= HIGHEST_MEDIAN


def page(measured: Sequence[Measured], missing: Sequence[str]) -> str:
    """Return the page: equal bytes and their targets, fixed bytes, then pruning.

    `missing` are the networks not measured, or not in full, which the page names.
    """
    parts = [
        "# Outputs of real networks at equal bytes",
        ABOUT,
        ABOUT_CHOSEN,
        *([f"Not measured, or in part: {', '.join(missing)}."] if missing else []),
        table(EQUAL, [_equal_row(each, pair) for each in measured for pair in each.equal]),
        "## Targets",
        table(("target", "measured", "kept"), _targets(measured)),
        "## Fixed sizes",
        table(FIXED, [_fixed_row(each, pair) for each in measured for pair in each.fixed]),
        *(_wanted(each) for each in measured if each.wanted_bytes),
        "## Pruning",
        ABOUT_PRUNED,
        table(
            ("network", "measure", "sparsity", *SCOPES),
            [row for each in measured for row in _pruned_rows(each)],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _equal_row(each: Measured, pair: Pair) -> tuple[str, ...]:
    ratio = f"{pair.ratio:.2f}" if pair.ratio <= HIGHEST else f"**{pair.ratio:.2f}**"
    return (
        each.name,
        "held out" if each.held_out else "chosen on",
        each.measure,
        f"{pair.size / 1e6:.3f}",
        f"{pair.layers.error:.3g}",
        f"{pair.model.error:.3g}",
        ratio,
    )


def _targets(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    found = list(ratios(measured))
    held_out = list(ratios([each for each in measured if each.held_out]))
    rows = [
        _target(f"highest ratio, at most {HIGHEST}", max(found), HIGHEST),
        _target(
            f"median ratio, at most {HIGHEST_MEDIAN}", statistics.median(found), HIGHEST_MEDIAN
        ),
    ]
    if held_out:
        rows.append(("median ratio of those held out", f"{statistics.median(held_out):.2f}", ""))
    return rows


def _target(what: str, measured: float, limit: float) -> tuple[str, ...]:
    return what, f"{measured:.2f}", "yes" if measured <= limit else "**no**"


def _fixed_row(each: Measured, pair: Pair) -> tuple[str, ...]:
    return (
        each.name,
        f"{pair.size / 1e6:.2f}",
        each.measure,
        f"{pair.layers.error:.4g}",
        f"{pair.model.error:.4g}",
        f"{pair.ratio:.2f}",
        _agreements(pair.layers, pair.model),
    )


def _agreements(layers: Point, model: Point) -> str:
    if layers.agreement is None or model.agreement is None:
        return ""
    return f"{layers.agreement:.3f} beside {model.agreement:.3f}"


def _wanted(each: Measured) -> str:
    layers, model = (each.wanted_bytes[name] / 1e6 for name in ("layers", "model"))
    return (
        f"{each.name} takes {layers:.2f} MB for {each.measure} = {WANTED[each.name]:g} by layers,"
        f" and {model:.2f} MB over the model (straight between the two sizes above, in logarithms)."
    )


def _pruned_rows(each: Measured) -> list[tuple[str, ...]]:
    rows = []
    for pruned in each.pruned:
        least = min(pruned.errors.values())
        texts = (pruned.errors[scope] for scope in SCOPES)
        cells = (f"**{error:.3g}**" if error == least else f"{error:.3g}" for error in texts)
        rows.append((each.name, each.measure, f"{pruned.sparsity:g}", *cells))
    return rows
