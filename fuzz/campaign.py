"""The trust campaign: damages, kills and counts, and writes the table of SECURITY.md.

    python fuzz/campaign.py --short            a minute, what continuous integration runs
    python fuzz/campaign.py                    all of it, some hours of one core
    python fuzz/campaign.py --only forged      one row, or several with commas between them
    python fuzz/campaign.py --case forged:123  one case again; writes the file it made to case.dcz
    python fuzz/campaign.py --table            SECURITY.md's table anew from results.json

Results are kept in fuzz/results.json, but those of a short run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rows_determinism
import rows_faults
import rows_flips
import rows_forged
import rows_kernels
import rows_large
import rows_memory
import rows_sharing
import rows_structure
import rows_values
import sanitized
from corpus import ROOT
from workers import Tally, limits

RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "SECURITY.md"
BEGIN, END = "<!-- campaign -->", "<!-- end of campaign -->"
MEMORY_DISK = Path("/dev/shm")
SANITIZED_FROM = "import sys; sys.path.insert(0, sys.argv[1]); import campaign; campaign.child()"

Work = Callable[[Path, int], Tally]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes
    ----------
    what : str
        What is done, as the table says it.
    promise : str
        What must come out.
    work : callable
        Takes a folder and the number of cases (or what stands for it).
    short, long : int
        That number in the two runs.
    """

    what: str
    promise: str
    work: Work
    short: int
    long: int


def _under_sanitizers(folder: Path, cases: int) -> Tally:
    """Forged files read by kernels that AddressSanitizer and UBSan watch."""
    copy = sanitized.build(folder / "sanitized")
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SANITIZED_FROM, here, str(folder), str(cases)]
    done = subprocess.run(
        command, env=sanitized.environment(copy), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        tally = Tally()
        tally.fail(f"ended with {done.returncode}: {done.stdout[-500:]}")
        return tally
    return Tally.of(json.loads(done.stdout.splitlines()[-1]))


def child() -> None:
    """What runs in the process of `_under_sanitizers`."""
    folder, cases = sys.argv[-2:]
    tally = rows_forged.forged_files(Path(folder), int(cases))
    print(json.dumps(vars(tally)))


ROWS = {
    "golden": Row(
        "every single-bit flip of the golden files of up to 4 KB",
        "no wrong tensor, no crash, no hang",
        rows_flips.flips_of_golden_files,
        1500,
        0,
    ),
    "flips": Row(
        "random single-bit flips of larger files",
        "no wrong tensor, no crash, no hang",
        rows_flips.flips_of_larger_files,
        1500,
        1_000_000,
    ),
    "forged": Row(
        "mutations with all checksums made right again",
        "a typed error, or exactly the declared size",
        rows_forged.forged_files,
        4000,
        1_000_000,
    ),
    "sanitized": Row(
        "mutations with checksums made right, the kernels under AddressSanitizer and UBSan",
        "no report",
        _under_sanitizers,
        1000,
        100_000,
    ),
    "kernels": Row(
        "C decoders under libFuzzer, AddressSanitizer and UBSan",
        "no report",
        rows_kernels.kernels,
        5,
        600,
    ),
    "container": Row(
        "files under Atheris, by a mutator that makes checksums right again",
        "a typed error, or exactly the declared size",
        rows_kernels.container,
        5,
        600,
    ),
    "cut": Row(
        "every prefix of the golden files, prefixes of larger ones, 1 to 64 bytes appended",
        "a typed error",
        rows_structure.cut_and_added,
        1000,
        1,
    ),
    "sections": Row(
        "sections swapped, doubled, dropped, overlapped",
        "a typed error",
        rows_structure.sections,
        500,
        20_000,
    ),
    "integers": Row(
        "each integer at its extremes, checksums made right again",
        "a typed error, or what an independent decoder reads too",
        rows_structure.extreme_integers,
        1000,
        0,
    ),
    "memory": Row(
        "hostile files under RLIMIT_AS",
        "at most file + declared output + 64 MiB",
        rows_memory.memory,
        20,
        1000,
    ),
    "kill": Row(
        "kill -9 at random moments of a pack onto an existing file",
        "the old file or the new one, nothing left over",
        rows_faults.killed,
        10,
        200,
    ),
    "calls": Row(
        "write, fsync, rename, link, open, close, mmap, malloc failing at the N-th call",
        "the old file or the new one, nothing left over",
        rows_faults.failing_calls,
        5,
        500,
    ),
    "readers": Row(
        "32 readers while the file is replaced, 8 threads on one archive, forks",
        "right results",
        rows_sharing.readers_threads_forks,
        10,
        300,
    ),
    "same": Row(
        "SHA-256 of packed files over runs x threads x backends x hash seeds",
        "one value for each recipe",
        rows_determinism.one_digest,
        2,
        50,
    ),
    "large": Row(
        "arrays of more than 2^31 and 2^32 elements",
        "come back",
        rows_large.round_trips,
        0,
        1,
    ),
    "values": Row(
        "NaN payloads, infinities, denormals, -0.0, every dtype, layouts, odd names",
        "bit-exact, or refused when packing",
        rows_values.round_trips,
        1,
        4,
    ),
}


def main() -> int:
    """Run rows and print what came out; 1 if any promise was broken."""
    options = _options()
    if options.table:
        write_table()
        return 0
    if options.case:
        row, _, number = options.case.partition(":")
        print(rows_forged.again(row, int(number), Path(tempfile.mkdtemp())))
        return 0
    names = options.only.split(",") if options.only else list(ROWS)
    broken = 0
    for name in names:
        if options.minutes is not None:
            limits.deadline = time.monotonic() + 60 * options.minutes
        broken += _run(name, options.short, options.cases)
    if not options.short:
        write_table()
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the trust campaign.")
    parser.add_argument("--short", action="store_true", help="a minute, for every change")
    parser.add_argument("--only", metavar="ROWS", help=", ".join(ROWS))
    parser.add_argument("--cases", type=int, help="how many cases, in place of the usual number")
    parser.add_argument("--minutes", type=float, help="begin no more cases of a row after that")
    parser.add_argument("--case", metavar="ROW:N", help="one case again")
    parser.add_argument("--table", action="store_true", help="only write SECURITY.md's table")
    return parser.parse_args()


def _run(name: str, short: bool, cases: int | None) -> int:
    row = ROWS[name]
    number = cases if cases is not None else row.short if short else row.long
    base = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dcz-campaign-", dir=base) as folder:
        tally = row.work(Path(folder), number)
    seconds = time.monotonic() - started
    print(f"{name}: {tally.cases:,} cases, {len(tally.failures)} failures, {seconds:.0f} s")
    for outcome, count in tally.outcomes.most_common():
        print(f"    {count:>9,}  {outcome}")
    for failure in tally.failures:
        print(f"    FAILED {failure}")
    sys.stdout.flush()
    if not short:
        _keep(name, tally, seconds, cases)
    return len(tally.failures)


def _keep(name: str, tally: Tally, seconds: float, cases: int | None) -> None:
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {
        "options": f"--only {name}" + (f" --cases {cases}" if cases is not None else ""),
        "cases": tally.cases,
        "failures": tally.failures,
        "outcomes": dict(tally.outcomes.most_common()),
        "seconds": round(seconds),
        "commit": _commit(),
    }
    ordered = {key: results[key] for key in [*ROWS, *results] if key in results}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def write_table() -> None:
    """Put the table of the results between its marks in SECURITY.md."""
    results = json.loads(RESULTS.read_text())
    lines = ["| what | promised | cases | broken | command |", "|---|---|---:|---:|---|"]
    for name, row in ROWS.items():
        if name in results:
            found = results[name]
            command = f"`python fuzz/campaign.py {found['options']}`"
            counts = f"{found['cases']:,} | {len(found['failures'])}"
            lines.append(f"| {row.what} | {row.promise} | {counts} | {command} |")
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}")


if __name__ == "__main__":
    sys.exit(main())
