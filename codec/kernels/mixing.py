"""Positions coded by mixed contexts."""

from . import BACKEND

if BACKEND == "c":
    from .native.mixing import *
else:
    from .reference.decode.mixing import *
