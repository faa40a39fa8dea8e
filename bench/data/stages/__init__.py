"""Which data arrive in which stage, and what is used for training, validation and test. Reads no files."""
