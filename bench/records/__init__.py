"""A trial's record: its schema, writing and reading it, and where it came from. Does not import torch."""
