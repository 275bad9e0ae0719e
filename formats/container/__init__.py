"""The `.dcz` file: reading it."""
