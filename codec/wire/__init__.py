"""Each structure of a frame as the file has it, to read and to write; FORMAT.md describes them."""
