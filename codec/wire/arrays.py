"""Arrays and the members of a frame, as all rooms above look at them.

A frame is one or more tensors of one dtype, laid end to end as one flat array and coded together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..kernels.digest import Digests as Digests

AnyArray = npt.NDArray[Any]

# A frame of several tensors is decoded whole for any of them, so it stays small.
MAX_GROUP = 65536
# One of mixed contexts may take long, but not more than a blink of an eye.
MAX_MIXED_GROUP = 1 << 19
_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


class Member(NamedTuple):
    """One tensor of a frame: its dtype, its number of elements, and its shape where that counts."""

    dtype: np.dtype[Any]
    numel: int
    shape: tuple[int, ...] = ()


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a real floating-point one that can hold weights.

    Those of ml_dtypes are, but for float8_e8m0fnu: its powers of two only scale weights.
    """
    if dtype.kind == "f":
        return True
    name = dtype.name
    return dtype.kind == "V" and name.startswith(("bfloat", "float")) and name != "float8_e8m0fnu"


def numel(members: Sequence[Member]) -> int:
    """Elements of all members together."""
    return sum(member.numel for member in members)


def patterns(array: AnyArray) -> AnyArray:
    """The array's elements as unsigned integers of the same size, without a copy."""
    return array.view(_UNSIGNED[array.dtype.itemsize])


def part(members: Sequence[Member], count: int) -> Sequence[Member]:
    """The members that `count` decoded elements belong to: a frame of several comes whole."""
    return members if len(members) > 1 else [Member(members[0].dtype, count)]


def split(flat: AnyArray, members: Sequence[Member]) -> list[AnyArray]:
    """Each member's part of a frame's flat array."""
    ends = np.cumsum([member.numel for member in members])
    return np.split(flat, ends[:-1])
