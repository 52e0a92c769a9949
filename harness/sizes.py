"""Sizes of memory as people write them, in study files and on the command line."""

from __future__ import annotations

import re
from fractions import Fraction

LEAST_MEMORY_BYTES = 128 << 20
"""For one pruner: less holds no interpreter with torch."""
MOST_MEMORY_BYTES = (1 << 63) - 1
SYNTAX = "a number with K, M, G or T, of 1024 each, as in 4g, 1.5 GiB or 512 MB; without one, in bytes"

_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s?(?:([kmgt])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def read_size(text: str) -> int:
    """A size in bytes from a text of the form `SYNTAX`; of a fraction of a byte, the whole ones.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:60]!r} is no size")
    return int(Fraction(found[1]) * (1 << _UNITS[(found[2] or "").lower()]))
