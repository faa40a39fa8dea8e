"""Images: where they come from, how they are cut into stages, how batches reach the device. Knows no strategy."""
