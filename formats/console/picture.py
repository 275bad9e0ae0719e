"""The picture of a rate-distortion sweep, drawn by Matplotlib."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...codec.errors import UnsupportedError
from ..atomic import atomic_writer
from ..studies.sweep import Sweep, SweepPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What each kind of picture begins with, by the ending of its file.
STARTS = {".svg": b"<?xml", ".png": b"\x89PNG"}

_WIDTH, _HEIGHT, _DOTS_PER_INCH = 7.2, 4.8, 150


def require_matplotlib() -> None:
    """Raise UnsupportedError where Matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UnsupportedError("pictures need Matplotlib: pip install dcz[plot]") from None


def write_picture(sweep: Sweep, path: str | os.PathLike[str]) -> None:
    """Draw a sweep's curves and bounds: bits a weight over the relative squared error.

    Equal sweeps give equal files.

    Parameters
    ----------
    sweep : Sweep
    path : path
        The file to write, replaced atomically; ends in `.svg` or `.png`.

    Raises
    ------
    UnsupportedError
        If Matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kind = Path(path).suffix.lower().removeprefix(".")
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    _draw(figure.add_subplot(), sweep)
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "dcz"}), atomic_writer(path) as stream:
        figure.savefig(stream, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)


def _draw(axes: Axes, sweep: Sweep) -> None:
    for preset in sweep.presets:
        points = [point for point in sweep.curve(preset) if point.weights]
        axes.plot(_errors(points), [p.weight_bits for p in points], "o-", label=preset)
    shared = sorted((p for p in sweep.points if p.weights), key=lambda p: p.relative_error)
    bounds = {"Gaussian bound": "--", "Laplacian bound": ":"}
    rates = ([p.gaussian_bits for p in shared], [p.laplacian_bits for p in shared])
    for (label, style), bits in zip(bounds.items(), rates, strict=True):
        axes.plot(_errors(shared), bits, style, color="0.35", label=label)
    if shared:
        axes.set_xscale("log")
        axes.legend()
    # A name may hold what Matplotlib would read as a formula.
    axes.set_title(Path(sweep.source).name, parse_math=False)
    axes.set_xlabel("relative squared error")
    axes.set_ylabel("bits a weight")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _errors(points: list[SweepPoint]) -> list[float]:
    return [point.relative_error for point in points]
