"""The C decoders under libFuzzer and sanitizers, and the container under Atheris.

    python fuzz/campaign.py --only kernels,container

Clang is needed for the first (apt install clang), `pip install atheris` for the second. Inputs
that were found before, and are no longer wrong, are in fuzz/cases: both start from them too.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sanitized
from corpus import ROOT, format_page
from workers import Tally

HERE = Path(__file__).parent
# What only encoders need of the two directions that share a folder does no harm.
DECODING = ("decode", "both")
FLAGS = ["-g", "-O1", "-std=c11", "-fno-sanitize-recover=all"]
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
MOST_BYTES = 16_384


def kernels(folder: Path, seconds: int) -> Tally:
    """Run `fuzz_decode.c` for some seconds from valid inputs and cases of former findings."""
    if shutil.which("clang") is None:
        return _left_out("clang is not installed")
    program, corpus = folder / "fuzz_decode", folder / "corpus"
    sources = [HERE / "fuzz_decode.c", *_decoding_sources()]
    command = ["clang", *FLAGS, SANITIZERS, *sanitized.include_options(), *map(str, sources)]
    command += ["-o", str(program)]
    subprocess.run(command, check=True)
    corpus.mkdir()
    for number, seed in enumerate(_seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [*_options(folder, seconds), "-timeout=20", "-verbosity=0"]
    return _run([program, *options, corpus, HERE / "cases" / "kernels"], folder)


def _decoding_sources() -> list[Path]:
    return [path for name in DECODING for path in sorted((sanitized.KERNELS / name).glob("*.c"))]


def container(folder: Path, seconds: int) -> Tally:
    """Run `fuzz_container.py` for some seconds."""
    probe = subprocess.run([sys.executable, "-c", "import atheris"], capture_output=True)
    if probe.returncode:
        return _left_out("atheris is not installed")
    corpus = folder / "corpus"
    shutil.copytree(ROOT / "tests" / "golden", corpus, ignore=shutil.ignore_patterns("*.json"))
    options = [*_options(folder, seconds), "-timeout=30", "-rss_limit_mb=4096"]
    sanitized.copy_package(folder, with_kernels=True)  # Atheris does not see editable installs
    command = [sys.executable, HERE / "fuzz_container.py", *options]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return _run([*command, corpus, HERE / "cases" / "container"], folder, environment)


def _options(folder: Path, seconds: int) -> list[str]:
    """What libFuzzer is told by both rows."""
    return [
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        "-len_control=0",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/found-",
    ]


def _left_out(why: str) -> Tally:
    tally = Tally()
    tally.add(f"left out: {why}", 0)
    return tally


def _run(command: list[object], folder: Path, environment: dict[str, str] | None = None) -> Tally:
    parts = [str(part) for part in command]
    done = subprocess.run(parts, env=environment, capture_output=True, text=True)
    tally = Tally()
    found = re.search(r"number_of_executed_units:\s*(\d+)", done.stdout + done.stderr)
    tally.add("no report", int(found[1]) if found else 0)
    if done.returncode or found is None:
        kept = [path.read_bytes().hex() for path in folder.glob("found-*")]
        tally.fail(f"ended with {done.returncode}: {done.stderr[-2000:]} input {kept}")
    return tally


# ---- valid inputs of fuzz_decode.c, to start from ----


def _number(value: int) -> bytes:
    return value.to_bytes(3, "big")


def _lengths(generator: random.Random, alphabet: int) -> list[int]:
    """Code lengths of a complete code, made by splitting the shortest codes at random."""
    lengths = [0]
    while len(lengths) < alphabet:
        at = generator.choice([i for i, n in enumerate(lengths) if n < 15])
        lengths[at : at + 1] = [lengths[at] + 1] * 2
    return lengths


def _table(lengths: list[int]) -> bytes:
    alphabet = len(lengths)
    coded = format_page.encode_table(lengths)[len(format_page.varint(alphabet)) :]
    return _number(alphabet - 1) + bytes(coded)


def _segment(symbols: list[int], lengths: list[int]) -> bytes:
    if len(lengths) == 1 or not symbols:
        return b""
    if len(symbols) < 4096:
        coded = format_page.encode_stream(symbols, lengths)
        return bytes(format_page.varint(len(coded)) + coded)
    streams = [format_page.encode_stream(symbols[i::8], lengths) for i in range(8)]
    return b"".join(len(s).to_bytes(2, "little") for s in streams) + b"".join(streams)


def _seeds() -> Iterator[bytes]:
    generator = random.Random(1)
    for count in (0, 1, 7, 300, 4095, 4096, 5000):
        for alphabet in (1, 2, 3, 17, 256):
            for size in range(4):
                lengths = _lengths(generator, alphabet)
                symbols = [generator.randrange(alphabet) for _ in range(count)]
                head = _number(5) + _number(size) + _number(count) + _table(lengths)
                yield head + _number(0) + _segment(symbols, lengths)
    for length in (1, 30, 700, 9000):
        for size in range(4):
            yield _sparse_seed(generator, length, size)
    for kinds, length, runs in ((1, 4000, 4), (2, 7, 40), (3, 700, 20), (16, 33, 300)):
        for size in range(4):
            yield _classes_seed(generator, kinds, length, runs, size)
    for trellis in (0, 5, 47):
        shape = _number(2) + _number(2) + _number(7) + _number(trellis) + _number(trellis)
        noise = np.random.default_rng(trellis).bytes(300)
        yield _number(6) + shape + _number(100) + _number(500) + noise
    for size in range(5):
        noise = np.random.default_rng(size).bytes(640)
        yield _number(1) + _number(size) + _number(3) + _number(9) + _number(0) + noise


def _classes_seed(generator: random.Random, kinds: int, length: int, runs: int, size: int) -> bytes:
    levels = 9
    classes = [generator.randrange(kinds) for _ in range(runs)]
    head = b"".join(map(_number, (size, levels - 1, kinds - 1, length - 1, 0, runs - 1, runs - 1)))
    codes = [_class_table(generator, levels) for _ in range(kinds)]
    payload = b"".join(table for table, _, _ in codes)
    for k, (_, lengths, width) in enumerate(codes):
        count = -(-length * classes.count(k) // width)
        used = [symbol for symbol, bits in enumerate(lengths) if bits]
        symbols = [generator.choice(used) for _ in range(count)]
        payload += _segment(symbols, lengths) if len(used) > 1 else b""
    return _number(0) + head + bytes(classes) + payload


def _class_table(generator: random.Random, levels: int) -> tuple[bytes, list[int], int]:
    """A table of single indices or of pairs, with its lengths and its width."""
    if generator.randrange(2):
        alphabet = generator.choice((1, 4, levels - 1))
        lengths = [0, *(_lengths(generator, alphabet) if alphabet > 1 else [1])]
        head = bytes([0, 0, len(lengths)])
        return head + bytes(format_page.encode_table(lengths)), lengths, 1
    # Indices 1 and 3 in use, and three pairs of them.
    lengths = _lengths(generator, 3)
    head = bytes([3, 1, 3, 0b101, 0b1011])
    return head + bytes(format_page.encode_table(lengths)), lengths, 2


def _sparse_seed(generator: random.Random, length: int, size: int) -> bytes:
    filler = 15
    gaps, at, survivors = [], 0, 0
    while True:
        gap = generator.randrange(filler + 1)
        if at + gap + (gap < filler) > length:
            break
        at += gap + (gap < filler)
        survivors += gap < filler
        gaps.append(gap)
    while gaps and gaps[-1] == filler:
        gaps.pop()
    gap_lengths, lengths = _lengths(generator, filler + 1), _lengths(generator, 9)
    symbols = [generator.randrange(9) for _ in range(survivors)]
    head = _number(2) + _number(size) + _number(length - 1) + _number(len(gaps))
    head += _number(survivors) + _number(filler - 1)
    tables = _table(gap_lengths) + _table(lengths)
    return head + tables + _segment(gaps, gap_lengths) + _segment(symbols, lengths)
