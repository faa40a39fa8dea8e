"""The nine aspects of an update's training, one file each, and `Strategy`, which holds one of each. Knows nothing of trials."""
