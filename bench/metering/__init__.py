"""FLOPs, clock, energy, and the ledger that adds them up. Independent of strategies."""
