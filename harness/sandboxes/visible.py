"""What of the host the program sees at the level without an engine: interpreter, shared libraries, Python packages.

Each is shown alone, so that nothing beside it is visible: neither the harness and its evaluation text, which may
stand in the same site-packages, nor other packages.
"""

from __future__ import annotations

import csv
import importlib.metadata
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import SandboxFault
from harness.resources import sandbox_package
from harness.sandboxes.interior import LIBRARIES, python_version

PACKAGES = "/opt/site-packages"
PROJECT = "/opt/harness"

_SYSTEM_PREFIXES = (Path("/usr"), Path("/usr/local"))
_HIDDEN = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class View:
    """What to show."""

    python: str
    """Path of the interpreter inside, the same as outside: it finds its libraries from there."""
    shown: dict[str, Path]
    """Path inside -> path of the host; all read-only."""
    hidden: tuple[str, ...]
    """Folders inside `shown` ones that must be empty."""
    mapped_bytes: int
    """Size of all shared objects among the packages: address space that an import may take before any tensor."""


@cache
def view() -> View:
    """The view that belongs to the running interpreter.

    Raises:
        SandboxFault: a library's files cannot be told from the rest of its folder.
    """
    python, interpreter = _interpreter()
    packages, mapped_bytes = _packages()
    shown = {**_shared_libraries(), **{str(path): path for path in interpreter}}
    hidden = tuple(
        str(inside)
        for path in interpreter
        for library in (path, path / f"python{python_version()}")
        for inside in (library / name for name in _HIDDEN)
        if inside.is_dir()
    )
    shown |= {f"{PACKAGES}/{name}": path for name, path in packages.items()}
    shown[f"{PROJECT}/sandbox"] = sandbox_package()
    return View(str(python), shown, hidden, mapped_bytes)


def _interpreter() -> tuple[Path, list[Path]]:
    """The interpreter below any virtual environment, with its standard library."""
    prefix = Path(sys.base_prefix).resolve()
    python = prefix / "bin" / f"python{python_version()}"
    if not python.exists():
        python = Path(sys.executable).resolve()
    if prefix not in _SYSTEM_PREFIXES:
        return python, [python, *(folder for folder in (prefix / "lib", prefix / "lib64") if folder.is_dir())]
    base = {"base": str(prefix), "platbase": str(prefix), "installed_base": str(prefix)}
    folders = {Path(sysconfig.get_path(name, vars=base)) for name in ("stdlib", "platstdlib")}
    shared = Path(sysconfig.get_config_var("LIBDIR") or prefix / "lib") / str(sysconfig.get_config_var("INSTSONAME"))
    return python, [python, *sorted(folders), *([shared] if shared.is_file() else [])]


def _shared_libraries() -> dict[str, Path]:
    """The system's folders of shared libraries, and what their loader reads."""
    architecture = sysconfig.get_config_var("MULTIARCH")
    found = [
        Path(root, architecture) for root in ("/lib", "/usr/lib") if architecture and Path(root, architecture).is_dir()
    ]
    found = found or [Path("/lib"), Path("/usr/lib")]
    found += [Path(name) for name in ("/lib64", "/usr/lib64", "/etc/ld.so.cache", "/etc/alternatives")]
    return {str(path): path for path in found if path.exists()}


def _packages() -> tuple[dict[str, Path], int]:
    """Modules and metadata of `LIBRARIES` and of all that they require here, by name in site-packages."""
    waiting, seen, mapped_bytes = list(LIBRARIES), set[str](), 0
    packages: dict[str, Path] = {}
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in LIBRARIES:
                raise SandboxFault(f"{name} is not installed beside the harness: pip install {name}") from None
            continue  # not required on this platform
        requirements = [text for text in distribution.requires or [] if "extra" not in text.partition(";")[2]]
        waiting += [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in requirements]
        record = distribution.read_text("RECORD")
        if not record:
            raise SandboxFault(f"{name} was installed without a list of its files: install it again with pip")
        for file, _, size in csv.reader(record.splitlines()):
            top, _, below = file.partition("/")
            if top in ("..", "__pycache__") or top.endswith(".pth"):
                continue
            if top not in packages:
                packages[top] = Path(str(distribution.locate_file(top))).resolve()
            if below.endswith(".so") or ".so." in below:
                mapped_bytes += int(size or 0)
    return packages, mapped_bytes
