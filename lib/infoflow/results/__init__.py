"""Rows on disk: the store, shards and their merge, and where each number comes from."""
