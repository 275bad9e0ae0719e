"""Levels of grids and trellises, classes of rows, and rate curves."""

from . import BACKEND

if BACKEND == "c":
    from .native.levels import *
else:
    from .reference.levels import *
