"""The sandbox image: libraries pinned to this environment's versions, and the files of sandbox/.

Two images make it up, so that an edit in sandbox/ costs a second: `harness-libraries`, named after the pins and
the base, and on top of it `harness-sandbox`, named after the pins and the files of sandbox/. A name that is not
there is an image that must be built.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from docker.errors import APIError, BuildError, ImageNotFound

from harness import console
from harness.errors import ImageFault
from harness.resources import sandbox_package
from harness.sandboxes.engine import connect
from harness.sandboxes.interior import library_versions, python_version

if TYPE_CHECKING:
    from docker import DockerClient

LOCAL_BASE = "harness-base:latest"
"""Made by tools/make_base.sh; taken before a base from a registry where it exists."""

BUILD = "build it: harness sandbox build"


def image_tag() -> str:
    """The name of the image that belongs to the present sandbox/ and the libraries installed here."""
    digest = hashlib.sha256(repr((python_version(), sorted(library_versions().items()))).encode())
    for name, data in _files():
        digest.update(repr((name, len(data))).encode() + data)
    return f"harness-sandbox:{digest.hexdigest()[:16]}"


def image_id() -> str:
    """The engine's id of that image, `sha256:...`.

    Raises:
        SandboxFault: no engine answers.
        ImageFault: the image is missing, so not built or older than sandbox/ or the libraries.
    """
    with connect() as client:
        return find_image(client)


def find_image(client: DockerClient) -> str:
    """As `image_id`, on an open connection."""
    tag = image_tag()
    if (found := image_id_of(client, tag)) is None:
        raise ImageFault(f"the sandbox image {tag} is missing, or older than sandbox/ and the libraries here; {BUILD}")
    return found


def build(base: str | None, wheels: Path | None, notice: Callable[[str], None]) -> str:
    """Build what is missing of the image and return its name.

    Args:
        base: an image with Python of the same minor version as here, `python3` and its venv module; by default
            `LOCAL_BASE` where it exists, else python:3.11-slim of a registry (with the version of here).
        wheels: a folder of wheels, as `pip download` makes it; then the build uses no network.
        notice: takes one line of progress.

    Raises:
        SandboxFault: no engine answers, or it fails.
        ImageFault: the base cannot be had, or the build fails.
    """
    tag, versions = image_tag(), library_versions()
    requirements = [f"{name}=={version}" for name, version in versions.items()]
    with connect() as client:
        base = base or (LOCAL_BASE if image_id_of(client, LOCAL_BASE) else f"python:{python_version()}-slim")
        libraries = _libraries_tag(base, _base_id(client, base, notice), requirements)
        if image_id_of(client, libraries) is None:
            notice(f"Installing {' '.join(requirements)} on {base}; this takes some minutes, once for these versions.")
            if wheels is not None and not any(wheels.glob("*.whl")):
                raise ImageFault(f"{wheels} holds no wheels; {_download(requirements)}")
            found = [] if wheels is None else sorted(wheels.glob("*.whl"))
            with _context([(f"wheels/{file.name}", file) for file in found], "libraries.Dockerfile") as context:
                arguments = {"BASE": base, "PYTHON": python_version(), "REQUIREMENTS": " ".join(requirements)}
                if wheels is not None:
                    arguments |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/tmp/wheels"}  # noqa: S108
                hint = "give --wheels DIR where no package index is reached: " if wheels is None else ""
                _build(client, context, libraries, arguments, wheels is None, hint + _download(requirements))
        modules = [(f"sandbox/{name}", data) for name, data in _files() if name.endswith(".py")]
        with _context(modules, "Dockerfile") as context:
            _build(client, context, tag, {"LIBRARIES": libraries}, False, "see sandbox/Dockerfile")
    return tag


def _download(requirements: list[str]) -> str:
    return f"make such a folder with: pip download -d DIR {' '.join(requirements)}"


def _base_id(client: DockerClient, base: str, notice: Callable[[str], None]) -> str:
    if (found := image_id_of(client, base)) is None:
        notice(f"Pulling {base}.")
        try:
            client.images.pull(base)
        except APIError as error:
            raise ImageFault(
                f"the base image {base} cannot be pulled: name one that is here with --base, or make one with"
                " tools/make_base.sh"
            ) from error
        found = image_id_of(client, base)
    return found or base


def _libraries_tag(base: str, base_id: str, requirements: list[str]) -> str:
    recipe = (sandbox_package() / "libraries.Dockerfile").read_bytes()
    content = repr((base, base_id, python_version(), requirements, recipe)).encode()
    return f"harness-libraries:{hashlib.sha256(content).hexdigest()[:16]}"


def image_id_of(client: DockerClient, name: str) -> str | None:
    """The id of a local image; None where there is none of that name."""
    try:
        return client.images.get(name).id
    except ImageNotFound:
        return None


def _files() -> list[tuple[str, bytes]]:
    """Relative names and contents of sandbox/, without byte code."""
    folder = sandbox_package()
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return [(p.relative_to(folder).as_posix(), p.read_bytes()) for p in paths]


def _context(files: Iterable[tuple[str, Path | bytes]], recipe: str) -> IO[bytes]:
    """A build context on disk, with the same bytes for the same files."""
    packed = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    dockerfile = (sandbox_package() / recipe).read_bytes()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for folder in ("wheels", "sandbox"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, data in [("Dockerfile", dockerfile), *files]:
            entry = tarfile.TarInfo(name)
            entry.size = data.stat().st_size if isinstance(data, Path) else len(data)
            with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as stream:
                archive.addfile(entry, stream)
    packed.seek(0)
    return packed


def _build(
    client: DockerClient, context: IO[bytes], tag: str, arguments: dict[str, str], network: bool, hint: str
) -> None:
    try:
        client.images.build(
            fileobj=context,
            custom_context=True,
            tag=tag,
            buildargs=arguments,
            network_mode=None if network else "none",
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        lines = [line for entry in error.build_log for line in str(entry.get("stream", "")).splitlines()]
        reasons = [
            console.plain(line.partition("ERROR: ")[2]).replace("[0m", "") for line in lines if "ERROR: " in line
        ]
        reason = (reasons or [str(error.msg)])[-1].strip()[:300]
        raise ImageFault(f"the image cannot be built: {reason}; {hint}") from error
