"""Sharing along the shortest path of a trellis."""
