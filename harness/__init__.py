"""Benchmark of pruning algorithms that language models write.

Importing this package loads neither torch nor transformers.
"""

__version__ = "0.1.0"
