"""Files that appear whole or not at all: readers never see half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.errors import StorageFault


def write(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file; its folder is made when missing.

    Raises:
        StorageFault: it cannot be written; what was there before stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageFault(f"{path}: cannot be written ({error.strerror}); make room, or give another place") from error
