"""The inner loops of the codec, in C where the extension was built and in NumPy elsewhere.

Both backends give the same results to the last bit. The environment variable ``DCZ_BACKEND``
(``c`` or ``numpy``) chooses one; without it the extension is used if there is one.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from .reference_class_coding import code_class
from .reference_classes import (
    CLASS_LIMIT,
    PAIRED_BYTES_LIMIT,
    PAIRED_LEVELS_LIMIT,
    ClassCodes,
    decode_runs,
    find_class_segments,
    read_class_codes,
)
from .reference_cluster import cluster, lloyd
from .reference_codes import code_lengths, decoding_table, read_lengths, write_lengths
from .reference_curves import UNSHARED, rate_curve
from .reference_decoding import decode_dense, decode_sparse
from .reference_digest import DIGEST_CHUNK, Digests, digest_count, write_digests
from .reference_encoding import count_symbols, encode_segments, split_sparse
from .reference_grids import classify, coded_bits, round_grid
from .reference_mixed import (
    ROW_LIMIT,
    Chunk,
    decode_mixed,
    decode_mixed_group,
    encode_mixed,
    encode_mixed_group,
)
from .reference_planes import (
    count_bytes,
    join_planes,
    pack_bits,
    pair_symbols,
    split_pairs,
    split_planes,
)
from .reference_runs import Bins, count_runs, find_bins, map_runs, nearest_classes
from .reference_segments import find_blocks, find_segments
from .reference_tiny import TINY, Positions, round_tiny
from .reference_trellis import RATE_CLASSES, RATE_LEVELS, TRELLISES, quantize_trellis
from .reference_weights import (
    assign,
    count_cells,
    count_magnitudes,
    distinct,
    histogram,
    lookup,
    measure,
    select_magnitudes,
    sum_rows,
    summarize,
    take,
)
from .weight_arguments import Summary


def _choose_backend() -> str:
    """``c`` or ``numpy``, by request or by what is installed."""
    wanted = os.environ.get("DCZ_BACKEND", "")
    available = find_spec("dcz.codec.kernels._kernels") is not None
    if wanted not in ("", "c", "numpy"):
        raise ImportError(f"DCZ_BACKEND is {wanted!r}, but must be 'c' or 'numpy'")
    if wanted == "c" and not available:
        raise ImportError("DCZ_BACKEND is 'c', but dcz was installed without its C extension")
    return wanted or ("c" if available else "numpy")


BACKEND = _choose_backend()

if BACKEND == "c":
    from .native_classes import decode_runs, find_class_segments, read_class_codes
    from .native_coding import (
        code_lengths,
        count_symbols,
        decode_dense,
        decode_sparse,
        decoding_table,
        encode_segments,
        find_blocks,
        find_segments,
        read_lengths,
        split_sparse,
        write_digests,
        write_lengths,
    )
    from .native_grids import classify, code_class, coded_bits, rate_curve, round_grid, round_tiny
    from .native_planes import (
        count_bytes,
        join_planes,
        pack_bits,
        pair_symbols,
        split_pairs,
        split_planes,
    )
    from .native_runs import count_runs, find_bins, map_runs, nearest_classes
    from .native_trellis import (
        decode_mixed,
        decode_mixed_group,
        encode_mixed,
        encode_mixed_group,
        quantize_trellis,
    )
    from .native_weights import (
        assign,
        cluster,
        count_cells,
        count_magnitudes,
        distinct,
        histogram,
        lloyd,
        lookup,
        measure,
        select_magnitudes,
        sum_rows,
        summarize,
        take,
    )
else:
    from .reference_class_coding import code_class
    from .reference_classes import decode_runs, find_class_segments, read_class_codes
    from .reference_coding import (
        code_lengths,
        count_symbols,
        decode_dense,
        decode_sparse,
        decoding_table,
        encode_segments,
        find_blocks,
        find_segments,
        read_lengths,
        split_sparse,
        write_digests,
        write_lengths,
    )
    from .reference_curves import rate_curve
    from .reference_grids import classify, coded_bits, round_grid
    from .reference_mixed import decode_mixed, decode_mixed_group, encode_mixed, encode_mixed_group
    from .reference_planes import (
        count_bytes,
        join_planes,
        pack_bits,
        pair_symbols,
        split_pairs,
        split_planes,
    )
    from .reference_runs import count_runs, find_bins, map_runs, nearest_classes
    from .reference_tiny import round_tiny
    from .reference_trellis import quantize_trellis
    from .reference_weights import (
        assign,
        cluster,
        count_cells,
        count_magnitudes,
        distinct,
        histogram,
        lloyd,
        lookup,
        measure,
        select_magnitudes,
        sum_rows,
        summarize,
        take,
    )

__all__ = [
    "BACKEND",
    "CLASS_LIMIT",
    "DIGEST_CHUNK",
    "PAIRED_BYTES_LIMIT",
    "PAIRED_LEVELS_LIMIT",
    "RATE_CLASSES",
    "RATE_LEVELS",
    "ROW_LIMIT",
    "TINY",
    "TRELLISES",
    "UNSHARED",
    "Bins",
    "Chunk",
    "ClassCodes",
    "Digests",
    "Positions",
    "Summary",
    "assign",
    "classify",
    "cluster",
    "code_class",
    "code_lengths",
    "coded_bits",
    "count_bytes",
    "count_cells",
    "count_magnitudes",
    "count_runs",
    "count_symbols",
    "decode_dense",
    "decode_mixed",
    "decode_mixed_group",
    "decode_runs",
    "decode_sparse",
    "decoding_table",
    "digest_count",
    "distinct",
    "encode_mixed",
    "encode_mixed_group",
    "encode_segments",
    "find_bins",
    "find_blocks",
    "find_class_segments",
    "find_segments",
    "histogram",
    "join_planes",
    "lloyd",
    "lookup",
    "map_runs",
    "measure",
    "nearest_classes",
    "pack_bits",
    "pair_symbols",
    "quantize_trellis",
    "rate_curve",
    "read_class_codes",
    "read_lengths",
    "round_grid",
    "round_tiny",
    "select_magnitudes",
    "split_pairs",
    "split_planes",
    "split_sparse",
    "sum_rows",
    "summarize",
    "take",
    "write_digests",
    "write_lengths",
]
