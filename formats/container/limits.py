"""What a reader is willing to take on, checked before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...codec.errors import LimitError


class DecodeLimits(NamedTuple):
    """Upper bounds for what a `.dcz` file may declare.

    The defaults let every plausible checkpoint through; a program that opens files from strangers
    on a small machine sets them to what that machine can hold.

    Attributes
    ----------
    tensor_bytes : int
        Decoded size of one tensor.
    total_bytes : int
        Decoded size of all tensors together.
    tensors : int
        Number of tensors.
    index_bytes : int
        Size of the index.
    metadata_bytes : int
        Size of the user's metadata once decompressed.
    index_memory : int
        Memory that index and metadata take, beyond as much as the file is large. Names that share
        prefixes and compressed metadata need far more of it than of the file.
    """

    tensor_bytes: int = 1 << 40
    total_bytes: int = 1 << 42
    tensors: int = 1 << 20
    index_bytes: int = 1 << 28
    metadata_bytes: int = 1 << 24
    index_memory: int = 1 << 25


DEFAULT_LIMITS = DecodeLimits()
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_limits(texts: Iterable[str]) -> DecodeLimits:
    """Limits from texts as ``total_bytes=8G``; K, M, G and T stand for powers of 1,024.

    Raises
    ------
    ValueError
        If one names no field of `DecodeLimits`, or is not a whole number.
    """
    names = DecodeLimits._fields
    given = {}
    for text in texts:
        name, _, value = text.partition("=")
        unit = _UNITS.get(value[-1:].upper(), 1)
        number = value[:-1] if unit > 1 else value
        if name not in names or not (number.isascii() and number.isdecimal()):
            raise ValueError(f"{text!r} is not NAME=NUMBER with one of {', '.join(names)}")
        given[name] = int(number) * unit
    return DecodeLimits(**given)


class Budget:
    """Memory that an index may take, to be spent before it is taken.

    Parameters
    ----------
    size : int
        In bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size

    def spend(self, size: int) -> None:
        """Take `size` bytes off. Raises LimitError when they are not there any more."""
        self._left -= size
        if self._left < 0:
            raise LimitError(f"the index takes more memory than the limit of {self._size} bytes")
