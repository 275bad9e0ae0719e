"""What files hold, beside the entropies and bounds that limit them."""
