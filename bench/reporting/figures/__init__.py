"""Figures, each drawn from tables written next to it, with a caption that says what its numbers are based on."""
