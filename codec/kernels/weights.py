"""Weights: sums, histograms, clusters, nearest centroids."""

from . import BACKEND

if BACKEND == "c":
    from .native.weights import *
else:
    from .reference.encode.weights import *
