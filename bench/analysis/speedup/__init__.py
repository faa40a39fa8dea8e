"""One strategy against scratch: curves, crossings, survival, speedups. Knows no ranking, reads no file."""
