"""The kernels in NumPy: the oracle that those in C are held to, and their stand-in."""
