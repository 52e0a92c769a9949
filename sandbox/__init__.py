"""What enters the container: the interface, the worker, and what the worker needs. Never imports `harness`."""
