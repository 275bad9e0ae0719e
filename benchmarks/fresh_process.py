"""What a user meets first: reading a file in a new process, and the command line's start.

    python benchmarks/fresh_process.py [--runs 15] [-o FOLDER]

A speed is the time of the other reader over dcz's, from the import to the last tensor; NumPy, or
PyTorch, is imported before. A start is told in multiples of a bare interpreter's. Runs take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from checkpoints import fetch, load
from results import table
from safetensors.numpy import save_file

import dcz

HERE = Path(__file__).parent
CHECKPOINT, MEGABYTE = "crepe", 1_000_000
_READER = """import sys, time, {before}
start = time.perf_counter()
{program}
print(time.perf_counter() - start)"""
READERS = {
    "dcz.load_state_dict": ("torch", "import dcz; dcz.load_state_dict(sys.argv[1])"),
    "torch.load": ("torch", "torch.load(sys.argv[1], weights_only=True)"),
    "dcz.load_file": ("numpy", "import dcz; dcz.load_file(sys.argv[1])"),
    "safetensors.numpy": (
        "numpy",
        "from safetensors.numpy import load_file; load_file(sys.argv[1])",
    ),
}
SPEEDS = {
    ("dcz.load_state_dict", "torch.load"): 1.0,
    ("dcz.load_file", "safetensors.numpy"): 0.8,
}
BARE = "a bare interpreter"
STARTS = {"dcz --version": 3.0, "dcz inspect": 5.0}
_MODULES = (
    "import sys, dcz; dcz.load_file(sys.argv[1]);"
    "print(sum(name.split('.')[0] == 'dcz' for name in sys.modules))"
)


@dataclass(frozen=True)
class Row:
    """A figure beside what it should reach: at least, or at most."""

    what: str
    measured: float
    wanted: float
    at_least: bool

    @property
    def kept(self) -> bool:
        """Whether it is reached."""
        if self.at_least:
            return self.measured >= self.wanted
        return self.measured <= self.wanted

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        bound = "at least" if self.at_least else "at most"
        kept = "yes" if self.kept else "**no**"
        return self.what, f"{self.measured:.2f}", f"{bound} {self.wanted:g}", kept


def read_seconds(reader: str, path: Path) -> float:
    """Seconds from the reader's import to the last tensor, in a new process."""
    before, program = READERS[reader]
    text = _READER.format(before=before, program=program)
    return float(_output([sys.executable, "-c", text, str(path)]))


def start_seconds(command: list[str]) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    _output(command)
    return time.perf_counter() - start


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def speeds(files: dict[str, Path], runs: int) -> list[Row]:
    """Each pair of readers, in turns."""
    seconds: dict[str, list[float]] = {reader: [] for reader in READERS}
    for run in range(runs + 1):
        for reader, found in seconds.items():
            once = read_seconds(reader, files[reader])
            if run:  # the first one fills the caches
                found.append(once)
    middle = {reader: statistics.median(found) for reader, found in seconds.items()}
    return [
        Row(f"speed of `{ours}` over `{theirs}`", middle[theirs] / middle[ours], wanted, True)
        for (ours, theirs), wanted in SPEEDS.items()
    ]


def starts(packed: Path, runs: int) -> list[Row]:
    """The command line beside a bare interpreter, in turns."""
    program = [sys.executable, "-m", "dcz"]
    commands = {
        BARE: [sys.executable, "-c", "pass"],
        "dcz --version": [*program, "--version"],
        "dcz inspect": [*program, "inspect", str(packed)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            once = start_seconds(command)
            if run:
                seconds[name].append(once)
    bare = statistics.median(seconds[BARE])
    return [
        Row(
            f"start of `{name}` over {BARE}'s", statistics.median(seconds[name]) / bare, most, False
        )
        for name, most in STARTS.items()
    ]


def measure(folder: Path, runs: int) -> list[Row]:
    """All rows, with files of one checkpoint in a folder."""
    source, plain, packed = fetch(CHECKPOINT), folder / "m.safetensors", folder / "m.dcz"
    save_file(load(source), plain)
    dcz.pack(source, packed, dcz.Recipe(bits=5, coder="huffman"))
    files = dict.fromkeys(READERS, packed) | {"torch.load": source, "safetensors.numpy": plain}
    modules = float(_output([sys.executable, "-c", _MODULES, str(packed)]))
    return [
        *speeds(files, runs),
        *starts(packed, runs),
        Row("modules of dcz that a fresh `load_file` imports", modules, 30.0, False),
    ]


def page(rows: list[Row], runs: int) -> str:
    """The Markdown page."""
    size = fetch(CHECKPOINT).stat().st_size / MEGABYTE
    parts = [
        "# In a new process",
        f"Written by `python benchmarks/fresh_process.py`: medians of {runs} runs in turns, of a "
        f"checkpoint of {size:.0f} MB (CREPE) that is packed at 5 bits. Speeds are told from the "
        "import to the last tensor, NumPy or PyTorch being there; starts are of whole processes.",
        table(("what", "measured", "wanted", "kept"), [row.cells() for row in rows]),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Measure, write the page, and return 1 if a row misses what is wanted."""
    parser = argparse.ArgumentParser(description="dcz in a new process.")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("-o", dest="folder", type=Path, default=HERE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dcz-fresh-") as folder:
        rows = measure(Path(folder), options.runs)
    (options.folder / "fresh_process.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=1) + "\n"
    )
    text = page(rows, options.runs)
    (options.folder / "fresh_process.md").write_text(text)
    print(text)
    return int(not all(row.kept for row in rows))


if __name__ == "__main__":
    sys.exit(main())
