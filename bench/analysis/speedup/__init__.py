"""One strategy against scratch: curves, crossings, survival, speedups. Reads no file, draws nothing."""
