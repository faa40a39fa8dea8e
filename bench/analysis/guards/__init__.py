"""Can a result be trusted? Compares scratch with published scratch. Ranks nothing, reads no files."""
