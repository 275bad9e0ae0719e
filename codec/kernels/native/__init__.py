"""The kernels in C: arrays are brought into shape here, checked and used there."""
