"""Which weights fall: by magnitude, or by scores over layers."""
