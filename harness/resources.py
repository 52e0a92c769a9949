"""Where the project's files are found, in a checkout and in an installed copy alike, and the user's cache."""

import os
import shutil
from pathlib import Path

import platformdirs

from harness.errors import StorageFault

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "_bundle"
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


def resource(name: str) -> Path:
    """A top-level file or folder, such as `prompts`, `reference_pruners`, `studies` or `requirements.lock`."""
    return _ROOT / name


def bundled(name: str) -> Path:
    """Bundled data inside the package: `text`, `testbeds`, `paper`, `reference`, `literature.toml`."""
    return _PACKAGE / "bundled" / name


def sandbox_package() -> Path:
    """The folder of the `sandbox` package: everything that enters the container."""
    return _PACKAGE.parent / "sandbox"


def cache_folder() -> Path:
    """The user's cache of converted models; made when missing. `HARNESS_CACHE` overrides it.

    Raises:
        StorageFault: it cannot be made.
    """
    folder = Path(os.environ.get("HARNESS_CACHE") or platformdirs.user_cache_dir("harness"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFault(f"the cache {folder} cannot be made ({error.strerror}): set HARNESS_CACHE") from error
    return folder


def check_room(size: int, what: str) -> None:
    """See that the cache folder's disk has room.

    Args:
        size: bytes.
        what: that is written, for the message.

    Raises:
        StorageFault: it has less.
    """
    folder = cache_folder()
    free = shutil.disk_usage(folder).free
    if free < size:
        gib = 1 << 30
        raise StorageFault(
            f"{what} takes {size / gib:.2f} GiB of disk, and {folder} has {free / gib:.2f} GiB left: make room, or set"
            " HARNESS_CACHE to another disk"
        )


def is_file(path: Path) -> bool:
    """Whether there is such a file; a path that no file can have (too long, a NUL in it) is just not there."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Likewise for folders."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
