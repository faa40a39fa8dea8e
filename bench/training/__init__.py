"""One trial: build, prepare, train, evaluate, checkpoint, resume. Writes no table."""

# Increment when the same trial would learn something else; tests/training/test_golden.py detects it.
TRAINING_VERSION = 1
