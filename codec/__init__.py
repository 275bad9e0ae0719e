"""The codec: prune, share, code. Arrays in, coded frames out; it never touches a file."""
