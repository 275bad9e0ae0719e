"""Grids, trellises, classes of rows and rate curves in NumPy."""

from __future__ import annotations

from .encode.class_coding import code_class
from .encode.curves import rate_curve
from .encode.grids import classify, coded_bits, round_grid
from .encode.runs import count_runs, find_bins, map_runs, nearest_classes
from .encode.tiny import round_tiny
from .encode.trellis import quantize_trellis

__all__ = [
    "classify",
    "code_class",
    "coded_bits",
    "count_runs",
    "find_bins",
    "map_runs",
    "nearest_classes",
    "quantize_trellis",
    "rate_curve",
    "round_grid",
    "round_tiny",
]
