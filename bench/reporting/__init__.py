"""Figures, tables, the page and progress. Shows numbers and computes none."""
