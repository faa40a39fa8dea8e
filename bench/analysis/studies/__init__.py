"""What else the records tell: frontiers, ablations, duels, whole lives. Reads no file, draws nothing."""
