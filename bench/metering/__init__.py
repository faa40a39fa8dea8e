"""FLOPs, clock, energy, and the ledger that adds them up. Knows no strategy."""
