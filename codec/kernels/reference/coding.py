"""The coding kernels in NumPy: the oracle the C kernels are held to, and their stand-in.

Entropy coding of symbols with canonical, length-limited prefix codes. A *segment* is a run of
symbols under one code. It is laid out as one stream of bits or, from 4096 symbols on, as eight of
them (symbol i is in stream i % 8), so that a decoder can follow eight chains of dependent
look-ups at once.
"""

from __future__ import annotations

from ..digest import write_digests
from .decode.classes import decode_runs, find_class_segments, read_class_codes
from .decode.codes import code_lengths, decoding_table, read_lengths, write_lengths
from .decode.decoding import decode_dense, decode_sparse
from .decode.segments import find_blocks, find_segments
from .encode.encoding import count_symbols, encode_segments, split_sparse

__all__ = [
    "code_lengths",
    "count_symbols",
    "decode_dense",
    "decode_runs",
    "decode_sparse",
    "decoding_table",
    "encode_segments",
    "find_blocks",
    "find_class_segments",
    "find_segments",
    "read_class_codes",
    "read_lengths",
    "split_sparse",
    "write_digests",
    "write_lengths",
]
