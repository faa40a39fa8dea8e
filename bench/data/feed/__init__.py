"""Batches, crops and flips on their way to the device. Independent of strategies."""
