"""Figures, each drawn from tables that are written beside it, with a caption that says what its numbers rest on."""
