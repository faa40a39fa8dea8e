"""Which trials are due, and what runs them. Does not know what a trial does internally."""
