"""What encoders and quantizers call, in NumPy."""
