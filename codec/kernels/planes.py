"""Byte planes of elements, and pairs of them."""

from . import BACKEND

if BACKEND == "c":
    from .native.planes import *
else:
    from .reference.decode.planes import *
