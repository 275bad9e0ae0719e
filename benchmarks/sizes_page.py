"""The Markdown page of what `sizes.py` measured."""

from __future__ import annotations

from collections.abc import Sequence

from results import table
from sizes_rows import Sizes
from speed_table import Experiment, sections

ABOUT = (
    "Written by `python benchmarks/sizes.py`. Weights of two or more dimensions alone, as fp32: the"
    " whole .dcz file of a checkpoint made of them, and NNCodec 2.1.3's bitstream of the same"
    " arrays, at the same relative squared error sum (w - w')^2 / sum w^2 over all of them. Between"
    " the two measured points next to that error, log bytes are taken to be straight in log error."
    " Errors are those of the decoded weights, calculated here."
)
ABOUT_SPEED = (
    "Ratios are of medians of the same run, on one core unless a row says otherwise; decoding is"
    " into memory in use, with digests checked. NNCodec runs once, in a process of its own that"
    " measures itself. Lossless rows pack whole checkpoints from memory into files and load those;"
    " zstd has the checksum that its command has. Files are kept in memory."
)


def page(sizes: Sequence[Sizes], speeds: Sequence[Experiment], about: Sequence[str]) -> str:
    """Return the page: bytes beside their limits, the points they come from, then speeds."""
    parts = ["# The size of dcz at equal error", ABOUT, "\n".join(f"* {line}" for line in about)]
    if sizes:
        presets = list(dict.fromkeys(name for each in sizes for name in each.presets))
        head = ("checkpoint @ relative error", "NNCodec bytes", *presets)
        parts += [table(head, [_row(each, presets) for each in sizes])]
        parts += ["## Points", table(_POINTS, [row for each in sizes for row in _points(each)])]
    if speeds:
        parts += ["## Speed", ABOUT_SPEED]
        parts += [f"#{part}" if part.startswith("##") else part for part in sections(speeds)]
    return "\n\n".join(parts) + "\n"


_POINTS = ("checkpoint @ relative error", "codec", "bytes", "error", "bytes", "error")


def _row(sizes: Sizes, presets: Sequence[str]) -> tuple[str, ...]:
    reference = "" if sizes.nncodec is None else f"{sizes.nncodec_bytes:,.0f}"
    return sizes.goal.title, reference, *(_cell(sizes, preset) for preset in presets)


def _cell(sizes: Sizes, preset: str) -> str:
    """Bytes, the excess over NNCodec, and whether it keeps its limit."""
    if preset not in sizes.presets:
        return ""
    parts = [f"{sizes.bytes(preset):,.0f}"]
    if sizes.nncodec is not None:
        parts.append(f"{sizes.excess(preset):+.1f}%")
    limit = sizes.goal.limits.get(preset)
    if limit is not None:
        verdict = {True: "yes", False: "**no**", None: ""}[sizes.reached(preset)]
        parts.append(f"(at most {limit:+.1f}%: {verdict})")
    return " ".join(parts)


def _points(sizes: Sizes) -> list[tuple[str, ...]]:
    brackets = dict(sizes.presets)
    if sizes.nncodec is not None:
        brackets = {f"NNCodec, qp {sizes.nncodec.step}": sizes.nncodec, **brackets}
    return [
        (
            sizes.goal.title,
            name,
            *(
                text
                for point in (points.finer, points.coarser)
                for text in (f"{point.bytes:,}", f"{point.error:.4e}")
            ),
        )
        for name, points in brackets.items()
    ]
