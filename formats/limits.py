"""What a reader is willing to take on, checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecodeLimits:
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
    """

    tensor_bytes: int = 1 << 40
    total_bytes: int = 1 << 42
    tensors: int = 1 << 20
    index_bytes: int = 1 << 28
    metadata_bytes: int = 1 << 26


DEFAULT_LIMITS = DecodeLimits()
