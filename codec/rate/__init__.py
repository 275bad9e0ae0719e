"""What a recipe asks for, and the slope that meets it."""
