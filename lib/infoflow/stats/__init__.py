"""Numbers in, numbers out: the cliff, intervals and paired tests. No torch, no task."""
