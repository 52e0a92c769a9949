"""The sandbox image: its name follows what goes into it, and a build does only what is needed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import ImageFault, SandboxFault
from harness.records import Limits, Mount
from harness.resources import sandbox_package
from harness.sandboxes import engine, image, interior
from harness.sandboxes.docker import DockerSandbox


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sandbox/ that stands in for it."""
    folder = tmp_path / "sandbox"
    shutil.copytree(sandbox_package(), folder)
    monkeypatch.setattr(image, "sandbox_package", lambda: folder)
    return folder


@pytest.fixture
def built(copy: Path) -> Iterator[list[str]]:
    """Names of images that the test builds; removed afterwards."""
    names: list[str] = []
    yield names
    client = docker.from_env()
    for name in names:
        client.images.remove(name)
    client.close()


def test_the_name_follows_the_files(copy: Path) -> None:
    before = image.image_tag()
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "worker.cpython-311.pyc").write_bytes(b"x")
    os.utime(copy / "__init__.py", (0, 0))
    assert image.image_tag() == before
    (copy / "new.py").write_text("")
    changed = image.image_tag()
    assert changed != before
    (copy / "new.py").write_text("x = 1")
    assert image.image_tag() not in (before, changed)


def test_the_name_follows_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.image_tag()
    versions = interior.library_versions()
    assert set(versions) == {"torch", "transformers", "numpy", "safetensors"}
    assert not any("+" in version for version in versions.values())
    monkeypatch.setattr(image, "library_versions", lambda: versions | {"torch": "0.0.1"})
    assert image.image_tag() != before


@pytest.mark.docker
def test_a_change_of_a_module_costs_a_layer_and_no_installation(copy: Path, built: list[str]) -> None:
    (copy / "worker.py").write_text(f"open('/out/answer', 'w').write({uuid.uuid4().hex!r})")
    answer = copy.parent / "answer"
    answer.touch()
    answer.chmod(0o666)
    with pytest.raises(ImageFault, match="older than sandbox/"):
        image.image_id()
    notices: list[str] = []
    built.append(image.build(None, None, notices.append))
    assert notices == [], "the libraries are there"
    assert image.image_id().startswith("sha256:")
    DockerSandbox().execute([Mount(answer, "/out/answer", writable=True)], Limits(timeout_seconds=60), 1000)
    assert len(answer.read_text()) == 32
    assert image.build(None, None, notices.append) == built[0]


@pytest.mark.docker
def test_a_base_that_is_nowhere_is_named(copy: Path) -> None:
    with pytest.raises(ImageFault, match=r"\Athe base image harness-nowhere:1 cannot be pulled: [^\n]+make_base"):
        image.build("harness-nowhere:1", None, lambda _: None)


@pytest.mark.docker
def test_a_base_with_another_python_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "python_version", lambda: "3.99")
    with engine.connect() as client:
        base = image.LOCAL_BASE if image.image_id_of(client, image.LOCAL_BASE) else "python:3.11-slim"
    with pytest.raises(ImageFault, match=r"the base has Python 3\.\d+, the harness runs on 3\.99"):
        image.build(base, None, lambda _: None)


@pytest.mark.docker
def test_wheels_that_are_missing_are_named(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "library_versions", lambda: {"torch": "0.0.1"})
    with pytest.raises(ImageFault, match="holds no wheels; make such a folder with: pip download"):
        image.build(None, tmp_path, lambda _: None)
    (tmp_path / "harness_nothing-1-py3-none-any.whl").write_bytes(b"")
    with pytest.raises(ImageFault, match=r"torch==0\.0\.1; make such a folder with: pip download"):
        image.build(None, tmp_path, lambda _: None)


def test_without_an_engine_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    result = CliRunner().invoke(cli, ["sandbox", "build"])
    assert isinstance(result.exception, SandboxFault)
    assert "no Docker engine answers" in str(result.exception)


@pytest.mark.docker
def test_the_command_prints_the_name_of_the_image() -> None:
    result = CliRunner().invoke(cli, ["sandbox", "build"])
    assert result.exit_code == 0, result.output
    assert image.image_tag() in result.output
