"""What commands print and return alike, and the files that none of them may replace."""

from __future__ import annotations

import math
import os
import sys
from typing import IO, Any

from ...codec.errors import RecipeError

DONE, DIFFERENT = range(2)


def print_json(table: dict[str, Any], stream: IO[str] | None = None) -> None:
    """Print a table as JSON; infinities and NaN, which it does not have, become null."""
    import json

    print(json.dumps(_finite(table), allow_nan=False), file=stream or sys.stdout)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_same(source: str, dest: str) -> None:
    """Raise RecipeError if the output is the input."""
    if os.path.exists(dest) and os.path.samefile(source, dest):
        raise RecipeError("is the input too, which is never changed; choose another", file=dest)


def refuse_overwriting(dest: str, start: bytes, kind: str) -> None:
    """Raise RecipeError if there is a file that does not start as one of its `kind` does."""
    if not os.path.isfile(dest) or os.path.getsize(dest) == 0:
        return
    with open(dest, "rb") as stream:
        if stream.read(len(start)) != start:
            raise RecipeError(f"exists and is not {kind}", file=dest)
