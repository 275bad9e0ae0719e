"""PyTorch's files and other pickles, read without running anything of them."""
