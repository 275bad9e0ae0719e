"""PyTorch's state dicts and files."""
