"""Weight sharing: from weights to indices and a codebook."""
