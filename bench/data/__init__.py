"""Images: where they come from, how they are split into stages, how batches reach the device. Independent of strategies."""
