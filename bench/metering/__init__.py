"""FLOPs, clock, energy, and the ledger that adds them."""
