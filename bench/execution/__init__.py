"""Which trials are due, and who runs them. Does not know what a trial does inside."""
