"""Files: the `.dcz` container, and the checkpoint formats it is packed from."""
