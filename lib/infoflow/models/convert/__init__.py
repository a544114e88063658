"""Published checkpoints that transformers does not read, converted once."""
