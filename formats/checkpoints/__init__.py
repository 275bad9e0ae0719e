"""Foreign formats: their tensors, one at a time."""
