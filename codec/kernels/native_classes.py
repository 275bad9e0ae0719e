"""The kernels on classes of runs in C: arrays are brought into shape here, used and checked there.

`reference_classes` documents each function; the two modules agree to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _kernels
from .coding_arguments import (
    ALPHABET_LIMIT,
    Array,
    Bytes,
    Integers,
    check_output,
    integer_array,
    require,
)
from .native_digest import NO_DIGESTS, write_short_digest
from .reference_classes import ClassCodes, check_classes, check_table, check_values
from .reference_digest import Digests


def read_class_codes(
    payload: Any, position: int, classes: int, levels: int, item_size: int
) -> tuple[ClassCodes, int]:
    """Read the tables of classes: see `reference_classes.read_class_codes`."""
    check_table(classes, levels, item_size)
    alphabets, widths = np.empty(classes, np.int64), np.empty(classes, np.int64)
    coded = np.empty(classes, np.bool_)
    # Room for the worst case, of which what was not written to is given back.
    lengths = np.empty(classes * ALPHABET_LIMIT, np.uint8)
    members = np.empty(2 * lengths.size, np.uint16)
    end, symbols, elements = _kernels.read_class_codes(
        payload, position, levels, item_size, alphabets, widths, coded, lengths, members
    )
    lengths.resize(symbols, refcheck=False)
    members.resize(elements, refcheck=False)
    return ClassCodes(alphabets, widths, coded, lengths, members), end


def find_class_segments(
    payload: Any,
    position: int,
    classes: Bytes,
    length: int,
    runs_in_block: int,
    numel: int,
    codes: ClassCodes,
) -> Integers:
    """Find the segments of all blocks: see `reference_classes.find_class_segments`."""
    check_classes(classes)
    require(runs_in_block >= 1, "a run has at least one element")
    blocks = -(-len(classes) // runs_in_block)
    found = np.empty(blocks * len(codes.alphabets) + 1, np.int64)
    _kernels.find_class_segments(
        payload,
        position,
        np.ascontiguousarray(classes),
        length,
        runs_in_block,
        numel,
        codes.coded,
        codes.widths,
        found,
    )
    return found


def decode_runs(
    payload: Any,
    offsets: Integers,
    classes: Bytes,
    length: int,
    runs_in_block: int,
    codes: ClassCodes,
    values: Array,
    out: Array,
    digests: Digests | None = None,
) -> None:
    """Decode runs that are in classes: see `reference_classes.decode_runs`."""
    check_output(out)
    check_classes(classes)
    check_values(values, codes, out)
    _kernels.decode_runs(
        payload,
        integer_array(offsets),
        np.ascontiguousarray(classes),
        length,
        runs_in_block,
        codes.lengths,
        codes.alphabets,
        codes.widths,
        np.ascontiguousarray(values),
        out.itemsize,
        out.view(np.uint8),
        NO_DIGESTS if digests is None else digests,
    )
    write_short_digest(out, digests)
