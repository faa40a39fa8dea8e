"""May a result be believed? Scratch against its published self. Ranks nothing, reads no file."""
