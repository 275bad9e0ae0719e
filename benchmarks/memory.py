"""Peak memory of a piece of work, above what the process had before and without mapped files.

The work runs in a process of its own; this one samples the anonymous memory of it (RssAnon, which
the input's mapping is no part of) every two milliseconds. Linux only.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

INTERVAL = 0.002


def available() -> bool:
    """Tell whether the system says how much anonymous memory a process has."""
    status = Path("/proc/self/status")
    return status.exists() and "RssAnon" in status.read_text()


def peak(action: str, source: Path, dest: Path, jobs: int) -> int:
    """Return the bytes that `pack` (at 5 bits), `load` or `unpack` takes at its peak."""
    command: list[str | Path] = [sys.executable, __file__, action, source, dest, str(jobs)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    before = highest = anonymous(process.pid)
    process.stdin.write("go\n")
    process.stdin.flush()
    while process.poll() is None:
        highest = max(highest, anonymous(process.pid))
        time.sleep(INTERVAL)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return highest - before


def anonymous(process: int) -> int:
    """Return the bytes of anonymous memory that a process has now; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Import everything, say so, wait for the word, work."""
    import dcz
    from dcz.formats.checkpoints import safetensors
    from dcz.formats.pack import pack

    assert pack
    assert safetensors
    action, source, dest, jobs = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    if action == "pack":
        dcz.pack(source, dest, dcz.Recipe(bits=5), jobs=int(jobs))
    elif action == "load":
        dcz.load_file(source, jobs=int(jobs))
    else:
        dcz.unpack(source, dest, jobs=int(jobs))


if __name__ == "__main__":
    main()
