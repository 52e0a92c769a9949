"""Results in other programs' stores: one module for each, all from the same `runs.Run`s."""
