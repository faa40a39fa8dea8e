"""What else the records say: frontiers, ablations, duels, whole lives. Reads no file and draws nothing."""
