"""The draft that the project grew out of: its tables and figures from our results, beside its own numbers."""
