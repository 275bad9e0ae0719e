"""Reports, listings and comparisons as tables for a reader."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, NoReturn

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...codec.report.report import Report, TensorReport
from ...codec.report.streams import StreamStatistics
from ..atomic import atomic_writer
from ..report.compare import Difference
from ..studies.bench import Figure
from ..studies.sweep import Sweep
from ..terminal import printable
from .columns import Columns, make_table
from .listing import shape_text

PAGE_START = b"<!DOCTYPE html>"
_PLAIN_WIDTH = 150


class _Console(Console):
    """A console that leaves a closed pipe to its caller, instead of ending the process."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def show(renderable: RenderableType, stream: IO[str] | None = None) -> None:
    """Print to a terminal in its width, or to a file or pipe in a fixed one."""
    out = stream or sys.stdout
    width = None if out.isatty() else _PLAIN_WIDTH
    _Console(file=out, width=width, highlight=False).print(renderable)


def write_html(report: Report, path: str | Path) -> None:
    """Write a report as one self-contained page."""
    console = Console(record=True, width=_PLAIN_WIDTH, file=io.StringIO())
    console.print(report_view(report))
    page = console.export_html(inline_styles=True)
    with atomic_writer(path) as stream:
        stream.write(page.encode())


def report_view(report: Report) -> RenderableType:
    """Everything a report has: stages, where the bytes are, tensors and streams."""
    parts: list[RenderableType] = [
        _stages(report),
        _parts(report),
        *([_bounds(report)] if report.approximate_bits else []),
        _tensors(report.tensors),
        *([_calibrated(report.tensors)] if report.output_error is not None else []),
        _streams(report.tensors),
    ]
    if report.metadata:
        parts.append(_pairs("metadata", report.metadata.items()))
    parts.append(summary(report))
    return Group(*parts)


def summary(report: Report) -> Text:
    """The one line that counts."""
    output = ""
    if report.output_error is not None:
        output = f", predicted output error {report.output_error:.3g}"
    elif report.counted_error is not None:
        output = f", as counted {report.counted_error:.3g}"
    return Text(
        f"{report.source_bytes:,} -> {report.file_bytes:,} bytes, {report.ratio:.2f}x, "
        f"relative squared error {report.relative_error:.3g}{output}",
        style="bold",
    )


def _stages(report: Report) -> Table:
    table = make_table("after each stage", "stage", "bytes", "ratio", "at entropy")
    table.add_row("source", f"{report.source_bytes:,}", "1.00x", "")
    for stage in report.stages:
        table.add_row(
            stage.stage, f"{stage.bytes:,}", f"{stage.ratio:.2f}x", f"{stage.bound_bytes:,}"
        )
    for name, size in report.alternatives.items():
        table.add_row(f"({name})", f"{size:,}", f"{report.source_bytes / max(size, 1):.2f}x", "")
    return table


def _parts(report: Report) -> Table:
    table = make_table("where the bytes are", "part", "bytes", "share")
    for name, size in report.parts.items():
        if size:
            table.add_row(name, f"{size:,}", f"{size / report.file_bytes:.1%}")
    table.add_row("file", f"{report.file_bytes:,}", "100.0%")
    return table


def _bounds(report: Report) -> Table:
    """What is left between the file and the rate-distortion bounds."""
    table = make_table("approximate tensors at their error", "what", "bytes", "of coded")
    rows = {
        "coded": report.approximate_bits,
        "bound of Gaussian sources": report.gaussian_bits,
        "bound of Laplacian sources": report.laplacian_bits,
    }
    for what, bits in rows.items():
        table.add_row(what, f"{bits / 8:,.0f}", f"{bits / report.approximate_bits:.1%}")
    return table


def _tensors(tensors: Sequence[TensorReport]) -> Columns:
    names = ("tensor", "shape", "dtype", "non-zero", "levels", "coder", "bytes", "entropy")
    rows = [
        (
            printable(t.name),
            shape_text(t.shape),
            t.dtype,
            f"{t.nonzero / t.numel:.1%}" if t.numel else "-",
            str(t.levels or "-"),
            printable(f"= {t.alias_of}" if t.alias_of else t.coder),
            f"{t.bits / 8:,.0f}",
            f"{t.bound_bits / 8:,.0f}",
            *(_bytes(bits) for bits in (t.gaussian_bits, t.laplacian_bits)),
            f"{t.relative_error:.2e}" if t.relative_error else "exact",
        )
        for t in tensors
    ]
    return Columns("tensors", (*names, "Gauss", "Laplace", "error"), rows)


def _calibrated(tensors: Sequence[TensorReport]) -> Table:
    """What calibration did: errors of weights and outputs, and where it moved bits."""
    names = ("tensor", "weight error", "output error", "bytes", "moved by calibration")
    table = make_table("calibrated tensors", *names)
    for t in tensors:
        if t.output_error:
            moved = "-" if t.moved_bits is None else f"{t.moved_bits / 8:+,.0f}"
            errors = f"{t.relative_error:.2e}", f"{t.output_error:.2e}"
            table.add_row(_text(t.name), *errors, f"{t.bits / 8:,.0f}", moved)
    return table


def _bytes(bits: float | None) -> str:
    return "-" if bits is None else f"{bits / 8:,.0f}"


def _streams(tensors: Sequence[TensorReport]) -> Columns:
    names = ("tensor", "stream", "symbols", "fixed", "entropy", "coded", "table", "KL")
    rows = [
        (printable(tensor.name), *_stream_cells(stream))
        for tensor in tensors
        for stream in tensor.streams
        if stream.symbols
    ]
    return Columns("streams, in bits a symbol", names, rows)


def _stream_cells(stream: StreamStatistics) -> list[str]:
    bits = (
        stream.fixed_bits,
        stream.entropy_bits,
        stream.coded_bits,
        stream.table_bits,
        stream.kl_bits,
    )
    return [stream.stream, f"{stream.symbols:,}", *(f"{b / stream.symbols:.3f}" for b in bits)]


def sweep_view(sweep: Sweep) -> Table:
    """What each preset needs at each error, beside the bounds."""
    names = ("preset", "aim", "error", "file bytes", "ratio", "bits a weight", "Gauss", "Laplace")
    table = make_table("rate and distortion", *names)
    for p in sweep.points:
        bits = (p.weight_bits, p.gaussian_bits, p.laplacian_bits)
        table.add_row(
            p.preset,
            f"{p.max_error:g}",
            f"{p.relative_error:.3e}",
            f"{p.file_bytes:,}",
            f"{p.ratio:.2f}x",
            *(f"{b:.3f}" if p.weights else "-" for b in bits),
        )
    return table


def comparison(differences: Sequence[Difference]) -> Table:
    """The tensors that differ, and by how much."""
    table = make_table("differences", "tensor", "status", "relative error", "greatest")
    for d in differences:
        if d.status != "equal":
            table.add_row(_text(d.name), d.status, f"{d.relative_error:.3e}", f"{d.greatest:.3e}")
    return table


def timings(figures: Sequence[Figure]) -> Table:
    """How long each job took."""
    table = make_table("medians", "job", "seconds", "x memcpy")
    for figure in figures:
        table.add_row(figure.job, f"{figure.seconds:.4f}", f"{figure.times_memcpy:.2f}")
    return table


def _pairs(title: str, pairs: Iterable[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("key")
    table.add_column("value", overflow="fold")
    for key, value in pairs:
        table.add_row(_text(key), _text(value))
    return table


def _text(text: str) -> Text:
    """A name as it is: not as markup, and without control characters."""
    return Text(printable(text))
