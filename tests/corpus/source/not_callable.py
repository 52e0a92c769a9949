"""`prune` is a number."""
prune = 0.5
