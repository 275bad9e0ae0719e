"""What decoders call, in NumPy."""
