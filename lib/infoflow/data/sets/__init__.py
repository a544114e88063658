"""The benchmarks' own data: which files they come in, and how their rows are read."""
