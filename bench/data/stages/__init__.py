"""What arrives when, and what is training, validation and test. Reads no file."""
