from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Buffer = bytes | memoryview | Array

# Coding kernels (bind_encoding.c, bind_tables.c, bind_decoding.c).

def count_symbols(symbols: Array, item_size: int, counts: Array, /) -> None: ...
def split_sparse(
    indices: Array,
    item_size: int,
    span: int,
    filler: int,
    gaps: Array,
    survivors: Array,
    gap_starts: Array,
    survivor_starts: Array,
    /,
) -> None: ...
def code_lengths(counts: Array, limit: int, lengths: Array, /) -> None: ...
def encode_segments(
    symbols: Array, item_size: int, starts: Array, lengths: Array, offsets: Array, /
) -> bytes: ...
def write_lengths(lengths: Array, /) -> bytes: ...
def read_lengths(coded: Any, lengths: Array, /) -> int: ...
def find_segments(
    payload: Any, position: int, counts: Array, coded: bytes, found: Array, /
) -> None: ...
def find_blocks(
    payload: Any, position: int, counts: Array, coded: bytes, found: Array, /
) -> None: ...
def decoding_table(lengths: Array, table: Array, /) -> None: ...
def decode_dense(
    payload: Any,
    offsets: Array,
    counts: Array,
    lengths: Array,
    codebook: Array,
    item_size: int,
    out: Array,
    digests: Array,
    /,
) -> None: ...
def decode_sparse(
    payload: Any,
    gap_offsets: Array,
    gap_counts: Array,
    index_offsets: Array,
    index_counts: Array,
    gap_lengths: Array,
    filler: int,
    index_lengths: Array,
    codebook: Array,
    item_size: int,
    span: int,
    out: Array,
    digests: Array,
    /,
) -> None: ...

# Byte planes (bind_planes.c).

def split_planes(elements: Array, item_size: int, rotated: bool, planes: Array, /) -> None: ...
def join_planes(planes: Sequence[Buffer], rotated: bool, out: Array, /) -> None: ...
def count_bytes(plane: Array, counts: Array, /) -> None: ...
def pair_symbols(
    low: Array, high: Array, low_bits: int, symbols: Array, counts: Array, /
) -> None: ...
def pack_bits(plane: Array, bits: int, packed: Array, /) -> None: ...
def split_pairs(
    pairs: Array, packed: Buffer, low_bits: int, low: Array, high: Array, /
) -> None: ...

# Kernels on runs (bind_runs.c). Results are written to the last array.

def find_bins(values: Array, wide: bool, scale: float, low: float, bins: Array, /) -> None: ...
def count_runs(
    symbols: Array, item_size: int, length: int, groups: Array, alphabet: int, counts: Array, /
) -> None: ...
def map_runs(
    bins: Array,
    length: int,
    groups: Array,
    tables: Array,
    width: int,
    out: Array,
    item_size: int,
    /,
) -> None: ...
def nearest_classes(
    counts: Array, alphabet: int, rates: Array, nearest: Array, sums: Array, /
) -> None: ...

# Kernels on classes of runs (bind_classes.c).
def read_class_codes(
    payload: Any,
    position: int,
    levels: int,
    item_size: int,
    alphabets: Array,
    widths: Array,
    coded: Array,
    lengths: Array,
    members: Array,
    /,
) -> tuple[int, int, int]: ...
def find_class_segments(
    payload: Any,
    position: int,
    classes: Array,
    length: int,
    runs_in_block: int,
    numel: int,
    coded: Array,
    widths: Array,
    found: Array,
    /,
) -> None: ...
def decode_runs(
    payload: Any,
    offsets: Array,
    classes: Array,
    length: int,
    runs_in_block: int,
    lengths: Array,
    alphabets: Array,
    widths: Array,
    values: Array,
    item_size: int,
    out: Array,
    digests: Array,
    /,
) -> None: ...

# Weight kernels (bind_weights.c, bind_levels.c). Results are written to the last arrays.

def summarize(values: Array, /) -> tuple[float, float, int, bool, float]: ...
def count_magnitudes(values: Array, shift: int, prefix: int, counts: Array, /) -> None: ...
def select_magnitudes(values: Array, first: int, last: int, found: Array, /) -> tuple[int, int]: ...
def count_cells(
    values: Array, cutoff: float, low: float, scale: float, counts: Array, /
) -> None: ...
def histogram(
    values: Array, cutoff: float, low: float, scale: float, counts: Array, sums: Array, /
) -> int: ...
def cluster(counts: Array, sums: Array, centroids: Array, /) -> int: ...
def lloyd(counts: Array, sums: Array, centroids: Array, steps: int, /) -> int: ...
def assign(
    values: Array, cutoff: float, thresholds: Array, first: int, indices: Array, /
) -> None: ...
def measure(values: Array, indices: Array, codebook: Array, errors: Array, /) -> None: ...
def sum_rows(values: Array, sums: Array, squares: Array, /) -> None: ...
def distinct(patterns: Array, keys: Array, /) -> int: ...
def lookup(patterns: Array, table: Array, indices: Array, /) -> None: ...
def take(indices: Array, codebook: Array, out: Array, /) -> None: ...

# Trellis kernels (bind_trellis.c).

def quantize_trellis(
    values: Array,
    wide: bool,
    closed: bool,
    scale: float,
    states: int,
    odd: int,
    low: int,
    classes: Array,
    rates: Array,
    positions: Array,
    counts: Array,
    /,
) -> None: ...
def encode_mixed(
    positions: Array, chunks: Array, grouped: bool, odd: int, low: int, /
) -> bytes: ...
def decode_mixed(
    data: Any, chunks: Array, grouped: bool, odd: int, low: int, positions: Array, /
) -> None: ...

# Grids, curves and coded classes (bind_grids.c).

def round_grid(
    bins: Array,
    length: int,
    groups: Array,
    classes: int,
    levels: int,
    bins_a_step: int,
    lowest: int,
    slope_factor: float,
    indices: Array,
    /,
) -> tuple[int, int, bytes]: ...
def classify(
    counts: Array,
    alphabet: int,
    most: int,
    steps: int,
    class_bits: int,
    map_bits: int,
    least: int,
    found: Array,
    /,
) -> tuple[int, int]: ...
def coded_bits(counts: Array, alphabet: int, overhead: int, /) -> int: ...
def code_class(
    indices: Array, item_size: int, may_pair: bool, counts: Array, /
) -> tuple[bytes, bytes, int, int]: ...
def rate_curve(
    means: Array,
    counts: Array,
    width: float,
    value_bits: float,
    plan: tuple[Array, ...],
    bits: Array,
    errors: Array,
    hull: Array,
    /,
) -> int: ...
def round_tiny(
    values: Array,
    wide: bool,
    ends: Array,
    steps: Array,
    slope_factor: float,
    left_out: Array,
    positions: Array,
    /,
) -> None: ...
