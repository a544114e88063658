"""Samples and tasks: the drawn world, four benchmarks, prompts and image controls."""
