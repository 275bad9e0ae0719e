"""What an error in a tensor counts for when nothing but the file is known."""
