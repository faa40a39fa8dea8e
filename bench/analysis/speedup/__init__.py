"""One strategy against scratch: curves, crossings, survival, speedups. Ranks nothing, reads no files."""
