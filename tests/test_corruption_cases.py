"""Files that were once read wrongly: a typed error, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

import dcz

CASES = sorted((Path(__file__).parents[1] / "fuzz" / "cases" / "container").glob("*.dcz"))
LIMITS = dcz.DecodeLimits(total_bytes=1 << 26)
MOST = (1 << 26) + (1 << 26 if dcz.BACKEND == "c" else 1 << 30)


def test_there_are_cases() -> None:
    assert len(CASES) >= 7


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_is_refused_with_a_typed_error(path: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((dcz.CorruptError, dcz.LimitError)) as caught:
            dcz.load_file(path, jobs=1, limits=LIMITS)
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size + MOST
    finally:
        tracemalloc.stop()
    assert caught.value.file == str(path)
