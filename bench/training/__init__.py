"""One trial: build, prepare, train, evaluate, checkpoint, resume. Writes no table."""

# Raised when the same trial would learn something else; tests/training/test_golden.py tells when.
TRAINING_VERSION = 1
