"""From the bytes of a frame to the elements of its tensors."""
