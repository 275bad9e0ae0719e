"""Files of NumPy, `.npy` and `.npz`, and arrays in memory."""
