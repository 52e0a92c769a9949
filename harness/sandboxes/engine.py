"""The connection to the Docker engine, with its errors as faults of the harness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import docker
import requests
import urllib3
from docker import DockerClient
from docker.errors import APIError, DockerException

from harness.errors import SandboxFault

_ANSWER_SECONDS = 60
_ERRORS = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError)


@contextmanager
def connect() -> Iterator[DockerClient]:
    """A client of the engine that DOCKER_HOST names, or the machine's own.

    Raises:
        SandboxFault: no engine answers, or it fails while the block runs.
    """
    try:
        client = docker.from_env(timeout=_ANSWER_SECONDS)
    except _ERRORS as error:
        raise SandboxFault(
            "no Docker engine answers: start it, set DOCKER_HOST to its address, or use --sandbox bubblewrap"
            f" ({_line(error)})"
        ) from error
    try:
        yield client
    except _ERRORS as error:
        raise SandboxFault(f"the Docker engine failed, see its log and run again: {_line(error)}") from error
    finally:
        client.close()


def answers() -> bool:
    """Whether an engine answers."""
    try:
        with connect() as client:
            return bool(client.ping())
    except SandboxFault:
        return False


def _line(error: Exception) -> str:
    text = str(error.explanation if isinstance(error, APIError) and error.explanation else error)
    return " ".join(text.split())[:300]
