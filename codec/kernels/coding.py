"""Huffman codes: lengths, tables, segments, classes, digests of what is decoded."""

from . import BACKEND

if BACKEND == "c":
    from .native.coding import *
else:
    from .reference.coding import *
