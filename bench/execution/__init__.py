"""Which trials are due, and who runs them."""
