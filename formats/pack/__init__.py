"""From a checkpoint to a `.dcz` file and back."""
