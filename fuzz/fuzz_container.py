"""Files under Atheris (libFuzzer for Python), by a mutator that knows the format.

    pip install atheris; python fuzz/fuzz_container.py CORPUS    libFuzzer's options apply

The mutator takes a file apart, changes it in places and makes its checksums right again; bytes
that are no file yet are changed as they are.
"""

from __future__ import annotations

import random
import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["dcz"]):
    from corpus import format_page
    from mutations import forge
    from rows_forged import declared_or_refused


def mutator(data: bytes, max_size: int, seed: int) -> bytes:
    """Another file with right checksums, from one that had them."""
    try:
        changed = forge(random.Random(seed), format_page.parse(data))
    except (format_page.Refused, ValueError, IndexError):
        changed = atheris.Mutate(data, max_size)
    return changed if len(changed) <= max_size else data


def test_one(data: bytes) -> None:
    """Decode what can be decoded; anything but a DczError is a finding."""
    declared_or_refused(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one, custom_mutator=mutator)
    atheris.Fuzz()
