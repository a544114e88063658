"""The only way into a forward pass."""
