"""What is fast, measured against what one would do otherwise."""
