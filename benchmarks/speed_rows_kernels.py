"""Rows without targets: each kernel alone, and the start of the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import timing
from speed_table import Experiment
from workbench import Array, Workbench

from dcz.codec.kernels import coding, weights
from dcz.codec.share import histogram, kmeans
from dcz.codec.share.shared_tensor import SharedTensor

BLOCK, SPAN, FILLER = 65536, 1 << 18, 255


def each_kernel(bench: Workbench) -> list[Experiment]:
    """Kernels on the synthetic tensor, at 32 and 256 levels and at sparsity 0.9."""
    timing.run_on_one_core()
    values = bench.arrays("synthetic")["weight"].reshape(-1)
    whole = Experiment("kernels, synthetic", values.size)
    contestants = _on_weights(values)
    for levels in (32, 256):
        contestants |= _on_indices(values, levels)
    contestants |= _on_sparse(values)
    whole.seconds = timing.samples(contestants, bench.runs)
    once = Experiment("kernels, on 65,536 bins")
    once.seconds = timing.samples(_on_bins(values), bench.runs)
    return [whole, once]


def _on_weights(values: Array) -> dict[str, Callable[[], object]]:
    summary = weights.summarize(values)
    other = np.empty_like(values)
    return {
        "memcpy": partial(np.copyto, other, values),
        "summarize": partial(weights.summarize, values),
        "histogram": partial(histogram.histogram, values, 0.0, summary),
        "count_magnitudes, upper 16 bits": partial(weights.count_magnitudes, values, 16, 0),
        "count_magnitudes, lower 16 bits": partial(weights.count_magnitudes, values, 0, 0x3F80),
        "distinct": partial(weights.distinct, values.view(np.uint32), 256),
    }


def _shared(values: Array, levels: int, cutoff: float = 0.0) -> SharedTensor:
    shape = histogram.histogram(values, cutoff, weights.summarize(values))
    codebook = kmeans.make_codebook(shape, kmeans.linear_centroids(shape, levels), values.dtype)
    return kmeans.assign(values, cutoff, codebook, zeros=cutoff > 0)


def _on_indices(values: Array, levels: int) -> dict[str, Callable[[], object]]:
    shared = _shared(values, levels)
    alphabet = shared.codebook.size
    counts = coding.count_symbols(shared.indices, alphabet)
    lengths = coding.code_lengths(counts, 11 if alphabet <= 64 else 12)
    starts = np.append(np.arange(0, values.size, BLOCK), values.size)
    coded, offsets = coding.encode_segments(shared.indices, starts, lengths)
    out, book = np.empty_like(values), shared.codebook.view(np.uint32)
    bytes_out, identity = np.empty(values.size, np.uint8), np.arange(alphabet, dtype=np.uint8)
    sizes = np.diff(starts)
    decode = partial(coding.decode_dense, coded, offsets[:-1], sizes, lengths)
    return {
        f"assign, {levels}": partial(kmeans.assign, values, 0.0, shared.codebook, zeros=False),
        f"measure, {levels}": partial(kmeans.squared_error, values, shared),
        f"count_symbols, {levels}": partial(coding.count_symbols, shared.indices, alphabet),
        f"encode_segments, {levels}": partial(
            coding.encode_segments, shared.indices, starts, lengths
        ),
        f"decode_dense to fp32, {levels}": partial(decode, book, out.view(np.uint32)),
        f"decode_dense to bytes, {levels}": partial(decode, identity, bytes_out),
    }


def _on_sparse(values: Array) -> dict[str, Callable[[], object]]:
    cutoff = float(np.quantile(np.abs(values), 0.9))
    shared = _shared(values, 32, cutoff)
    book = shared.codebook[1:]
    gaps, survivors, gap_starts, starts = coding.split_sparse(shared.indices, SPAN, FILLER)
    lengths = [
        coding.code_lengths(coding.count_symbols(symbols, size), limit)
        for symbols, size, limit in ((gaps, FILLER + 1, 12), (survivors, book.size, 11))
    ]
    coded = [
        coding.encode_segments(symbols, at, length)
        for symbols, at, length in (
            (gaps, gap_starts, lengths[0]),
            (survivors, starts, lengths[1]),
        )
    ]
    payload = coded[0][0] + coded[1][0]
    out = np.empty_like(values)
    return {
        "split_sparse": partial(coding.split_sparse, shared.indices, SPAN, FILLER),
        "assign, 32, sparse": partial(kmeans.assign, values, cutoff, book, zeros=True),
        "histogram, sparse": partial(
            histogram.histogram, values, cutoff, weights.summarize(values)
        ),
        "encode_segments, gaps": partial(coding.encode_segments, gaps, gap_starts, lengths[0]),
        "decode_sparse to fp32": partial(
            coding.decode_sparse,
            payload,
            coded[0][1][:-1],
            np.diff(gap_starts),
            coded[1][1][:-1] + len(coded[0][0]),
            np.diff(starts),
            lengths[0],
            FILLER,
            lengths[1],
            book.view(np.uint32),
            SPAN,
            out.view(np.uint32),
        ),
    }


def _on_bins(values: Array) -> dict[str, Callable[[], object]]:
    shape = histogram.histogram(values, 0.0, weights.summarize(values))
    tiny = values[:4096]
    summary = weights.summarize(tiny)
    work: dict[str, Callable[[], object]] = {
        "histogram of 4,096 weights": partial(histogram.histogram, tiny, 0.0, summary),
        "code_lengths, 256": partial(coding.code_lengths, np.arange(1, 257), 12),
    }
    for levels in (16, 32, 256):
        work[f"cluster, {levels}"] = partial(kmeans.optimal_centroids, shape, levels)
        work[f"lloyd, linear, {levels}"] = partial(kmeans.linear_centroids, shape, levels)
        work[f"best_centroids, {levels}"] = partial(kmeans.best_centroids, shape, levels)
    return work


def start(bench: Workbench) -> list[Experiment]:
    """Start the command line, beside Python with nothing and Python with NumPy."""
    timing.run_on_one_core()
    dcz = [sys.executable, "-m", "dcz"]
    commands: dict[str, timing.Command] = {
        "dcz --version": [*dcz, "--version"],
        "dcz inspect (CRAFT, .dcz)": [*dcz, "inspect", bench.packed("craft", bits=5)],
        "dcz inspect (MiniLM, .safetensors)": [*dcz, "inspect", bench.source("minilm-l6")],
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
    }
    contestants = {name: timing.running(command) for name, command in commands.items()}
    experiment = Experiment("start", 0, timing.samples(contestants, bench.runs))
    for name in list(commands)[:3]:
        experiment.limit(f"{name}", experiment.median(name) * 1e3, None, "ms")
        above = experiment.median(name) / experiment.median("python -c 'import numpy'")
        experiment.limit(f"{name} / import numpy", above, None)
    return [experiment]
