"""Trials of the open division in training loops of other libraries: a callback for each, over bench.track."""
