"""Figures, tables and progress: shows numbers, computes none."""
