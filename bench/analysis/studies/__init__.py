"""Further studies of the records: frontiers, ablations, duels, whole lives. Reads no files and draws nothing."""
