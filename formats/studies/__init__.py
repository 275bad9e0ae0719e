"""Measuring packing: sizes along an error, and speeds."""
