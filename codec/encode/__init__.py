"""From shared or exact tensors to the bytes of a frame."""
