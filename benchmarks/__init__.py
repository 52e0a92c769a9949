"""Programs that measure the harness itself, or what its choices do to its numbers."""
