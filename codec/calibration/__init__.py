"""Calibration: what the outputs of a network say about its weights."""
