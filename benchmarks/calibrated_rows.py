"""What a row of the calibrated table says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One way to pack at one aim, with what came of it on the test set."""

    method: str
    aim: str
    megabytes: float
    cosine: float
    cosine_low: float
    agreement: float
    other_kind: float | None = None
    target: str = ""
    met: bool | None = None


def shown(row: Row) -> Row:
    """Print a row as soon as it is known, and return it."""
    print(row, flush=True)
    return row
