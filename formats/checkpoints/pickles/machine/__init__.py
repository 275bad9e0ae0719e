"""Reading pickles without running them: the opcodes and what they build."""
