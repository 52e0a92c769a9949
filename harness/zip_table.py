"""The table of contents of a zip file, looked at before `zipfile` makes an object of each entry that it claims."""

from __future__ import annotations

import struct

_END = struct.Struct("<4s4H2LH")
"""What a file ends in: signature, disks, entries here and in all, bytes and start of the table, bytes of a comment."""
_END_SIGNATURE = b"PK\x05\x06"
_ENTRY_SIGNATURE = b"PK\x01\x02"
_LOCATOR_SIGNATURE, _LOCATOR_BYTES = b"PK\x06\x07", 20
"""Of what stands before that end in a file of more than 4 GiB, and names another table."""


def most_entries(raw: bytes) -> int:
    """How many entries `zipfile` can find at most in a file that ends in its table, without a comment.

    Raises:
        ValueError: it does not end so.
    """
    end = len(raw) - _END.size
    if end < 0 or not raw.startswith(_END_SIGNATURE, end):
        raise ValueError("the table of contents is not laid out at the end of the file")
    _, _, _, _, entries, size, _, comment = _END.unpack_from(raw, end)
    if comment or size > end or raw.startswith(_LOCATOR_SIGNATURE, max(0, end - _LOCATOR_BYTES)):
        raise ValueError("the table of contents is not laid out as that of a pack")
    # the number that stands there may be a lie; every entry that is read begins with its signature
    return int(max(entries, raw.count(_ENTRY_SIGNATURE, end - size, end)))
