"""Builds a copy of the package whose kernels report what they do wrong, and runs Python with it.

    python fuzz/sanitized.py FOLDER COMMAND...      runs `python COMMAND...` with the copy

AddressSanitizer finds accesses outside of what was allocated, UndefinedBehaviorSanitizer what the
C standard leaves undefined. Either ends the process, which the campaign counts as a crash.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "codec" / "kernels" / "c"
FLAGS = ["-g", "-O1", "-fno-omit-frame-pointer", "-ffp-contract=off", "-std=c11"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def build(folder: Path) -> Path:
    """Put the copy into `folder` and return the path that Python is to find it by."""
    copy_package(folder, with_kernels=False)
    extension = folder / "dcz" / "codec" / "kernels" / "_kernels.abi3.so"
    command = ["gcc", "-shared", "-fPIC", *FLAGS, *SANITIZERS, "-DPy_LIMITED_API=0x030b0000"]
    command += ["-I", sysconfig.get_path("include"), *include_options(), "-o", str(extension)]
    subprocess.run([*command, *sources()], check=True)
    return folder


def copy_package(folder: Path, *, with_kernels: bool) -> None:
    """Copy the package's files, as they are imported, to `folder`."""
    package = folder / "dcz"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "cli.py"):
        shutil.copy(ROOT / name, package)
    patterns = ["__pycache__"] if with_kernels else ["__pycache__", "*.so"]
    for name in ("codec", "formats"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns(*patterns))


def sources() -> list[str]:
    """The kernels' C files."""
    return sorted(map(str, KERNELS.rglob("*.c")))


def include_options() -> list[str]:
    """The compiler's options for the kernels' headers."""
    return [f"-I{folder}" for folder in sorted({path.parent for path in KERNELS.rglob("*.h")})]


def environment(folder: Path) -> dict[str, str]:
    """Variables under which Python uses the copy."""
    libraries = (_library("libasan.so"), _library("libubsan.so"))
    return os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONPATH": str(folder),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
        "DCZ_BACKEND": "c",
    }


def _library(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True)
    return found.stdout.strip()


if __name__ == "__main__":
    target = build(Path(sys.argv[1]).resolve())
    os.execve(sys.executable, [sys.executable, *sys.argv[2:]], environment(target))
