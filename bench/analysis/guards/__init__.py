"""May a result be believed? Scratch against its published self. Reads no file, draws nothing."""
