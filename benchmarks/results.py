"""The Markdown page of what `real_checkpoints.py` measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = Sequence[str]


ABOUT = (
    "Written by `python benchmarks/real_checkpoints.py`. The relative error is"
    " sum (w - w')^2 / sum w^2 over float tensors of two or more dimensions;"
    " the ratio is source file over .dcz file."
)
ABOUT_BOUNDS = "Weights of two or more dimensions only, 32 centroids per tensor."
ABOUT_TIMES = (
    "Medians of interleaved runs, pack at 5 bits. The command's time includes Python's start;"
    " that inside a program, which the checks are about, does not."
)


SIZES = ("checkpoint", "options", "file bytes", "ratio", "relative error", "bytes of weights")
BOUNDS = ("checkpoint", "calculation", "bytes", "ratio", "relative error")
TIMES = ("checkpoint", "dcz", "pack s", "x zstd -3", "unpack s", "x zstd -d")
CHECKS = ("where", "what", "measured", "limit", "kept")


def markdown(result: dict[str, Any]) -> str:
    """Return the page: sizes, own figures beside them, times, and every check."""
    measured = result["checkpoints"]
    parts = [
        "# dcz on real checkpoints",
        ABOUT,
        f"{result['dcz']}; {result['machine']}; NumPy {result['numpy']}; one core.",
        "## Sizes",
        table(SIZES, (row for each in measured for row in size_rows(each))),
        "## Calculated without dcz",
        ABOUT_BOUNDS,
        table(BOUNDS, (row for each in measured for row in bound_rows(each))),
        "## Times",
        ABOUT_TIMES,
        table(TIMES, (row for each in measured for row in time_rows(each))),
        "## Checks",
        table(CHECKS, check_rows(result)),
    ]
    return "\n\n".join(parts) + "\n"


def table(head: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def size_rows(each: dict[str, Any]) -> list[Row]:
    """Return a row for each set of options."""
    return [
        (
            each["name"],
            f"`{' '.join(run['options'])}`" if run["options"] else "none",
            f"{run['file_bytes']:,}",
            f"{run['ratio']:.2f}",
            f"{run['relative_error']:.3e}",
            f"{run['weight_bytes']:,.0f}",
        )
        for run in each["runs"]
    ]


def bound_rows(each: dict[str, Any]) -> list[Row]:
    """Return a row for each independent calculation."""
    return [
        (
            each["name"],
            what,
            f"{bound['bytes']:,}",
            f"{bound['ratio']:.2f}",
            f"{bound['relative_error']:.3e}",
        )
        for what, bound in each["independent"].items()
    ]


def time_rows(each: dict[str, Any]) -> list[Row]:
    """Return seconds and their ratios to zstd, for the command and inside a program."""
    return [
        time_row(each, "command", "pack", "unpack"),
        time_row(each, "in a program", "pack in a program", "unpack in a program"),
    ]


def time_row(each: dict[str, Any], how: str, pack: str, unpack: str) -> Row:
    """Return one row of seconds and ratios."""
    seconds = each["seconds"]
    return (
        each["name"],
        how,
        f"{seconds[pack]:.3f}",
        f"{seconds[pack] / seconds['zstd -3']:.2f}",
        f"{seconds[unpack]:.3f}",
        f"{seconds[unpack] / seconds['zstd -d']:.2f}",
    )


def check_rows(result: dict[str, Any]) -> list[Row]:
    """Return a row for each check, the commands' start first."""
    rows = [check_row("start", check) for check in result["start"]]
    for each in result["checkpoints"]:
        rows += [check_row(each["name"], check) for check in each["checks"]]
        for run in each["runs"]:
            where = f"{each['name']}, {run['run']}"
            rows += [check_row(where, check) for check in run["checks"]]
    return rows


def check_row(where: str, check: dict[str, Any]) -> Row:
    """Return one check as text."""
    kept = "yes" if check["kept"] else "**no**"
    return (where, check["what"], f"{check['measured']:.6g}", f"{check['limit']:.6g}", kept)
