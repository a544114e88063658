"""What a measure should cost, from the shape of a model alone."""
