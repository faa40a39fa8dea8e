"""Batches, crops and flips on their way to the device. Knows no strategy."""
