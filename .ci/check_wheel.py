"""Check that a wheel holds the package `dcz`, all of it, and nothing else.

python .ci/check_wheel.py DIST.whl
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator

WANTED = (
    "dcz/__init__.py",
    "dcz/__main__.py",
    "dcz/cli.py",
    "dcz/py.typed",
    "dcz/codec/__init__.py",
    "dcz/codec/calibration/__init__.py",
    "dcz/formats/__init__.py",
    "dcz/formats/FORMAT.md",
    "dcz/formats/commands/__init__.py",
    "dcz/formats/checkpoints/pickles/__init__.py",
    "dcz/codec/training/__init__.py",
)
UNWANTED = ("tests", "samples", "benchmarks", "fuzz", "build", "setup.py")
EXTENSION = "dcz/codec/kernels/_kernels"


def faults(names: list[str]) -> Iterator[str]:
    """Yield what is wrong with the list of a wheel's files."""
    for name in names:
        top, _, rest = name.partition("/")
        if top != "dcz" and not (top.startswith("dcz-") and top.endswith(".dist-info")):
            yield f"{name} is outside the package"
        if rest.split("/")[0] in UNWANTED:
            yield f"{name} does not belong into a wheel"
    for name in WANTED:
        if name not in names:
            yield f"{name} is missing"
    if not any(name.startswith(EXTENSION) and name.endswith((".so", ".pyd")) for name in names):
        yield f"{EXTENSION} is missing: the kernels were not compiled"
    if not any(name.endswith("/LICENSE") for name in names):
        yield "the licence is missing"


def main() -> int:
    """Print the faults; return 1 when there are some."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        names = wheel.namelist()
    found = list(faults(names))
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{len(names)} files in the wheel, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
