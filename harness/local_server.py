"""A small model on this machine behind an OpenAI-compatible endpoint: `--model local:smollm2-135m`, no key, no network.

The server (llama.cpp's, from the optional package xllamacpp) runs in a child process on a free port of the loopback
interface, so that a crash or a hang of it cannot take the harness along. The child ends when its standard input
does, and so never outlives the harness.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.console import plain
from harness.errors import EndpointFault, UsageError
from harness.names import install

PREFIX = "local:"
MAX_TOKENS = 1024
"""Answers of a local model are cut here unless `--max-tokens` says otherwise."""

_CONTEXT_TOKENS = 8192
_START_SECONDS = 120.0


@contextmanager
def local_endpoint(model: str) -> Iterator[str]:
    """Serve a local model, such as `local:smollm2-135m`, while the block runs, and yield its base URL.

    Raises:
        UsageError: there is no such local model, or the extra `local` is not installed.
        EndpointFault: the server did not start.
    """
    name = model.removeprefix(PREFIX)
    if name != "smollm2-135m":
        raise UsageError(f"no local model {name[:80]!r}: there is {PREFIX}smollm2-135m; others need --base-url")
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError(f"local models need an optional package: {install('local')}")
    from harness.targets import smollm2_gguf  # noqa: PLC0415 - the only use of it

    with serve(smollm2_gguf(), name) as url:
        yield url


@contextmanager
def serve(gguf: Path, name: str, start_seconds: float = _START_SECONDS) -> Iterator[str]:
    """Serve the model in `gguf` as `name` while the block runs, and yield the base URL.

    Raises:
        EndpointFault: the server did not answer within `start_seconds`.
    """
    package = str(Path(__file__).resolve().parent.parent)
    environment = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"} | {"PYTHONPATH": package}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.local_server", str(gguf), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        )
        try:
            yield _await(process, log, time.monotonic() + start_seconds)
        finally:
            _stop(process)


def _await(process: subprocess.Popen[bytes], log: IO[bytes], deadline: float) -> str:
    """The base URL, once the server answers."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
    line = process.stdout.readline() if ready else b""
    url: str = json.loads(line)["url"] if line.startswith(b'{"url"') else ""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while url and time.monotonic() < deadline and process.poll() is None:
        try:
            with direct.open(f"{url}/health", timeout=5):
                return f"{url}/v1"
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
    said = [text for text in log.read().decode(errors="replace").splitlines() if text.strip()]
    why = plain(said[-1], 200) if said else f"exit code {process.poll()}"
    raise EndpointFault(f"the local model's server did not start ({why}): try again, or use --base-url")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the child to end, then make it end."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _child(gguf: str, name: str) -> None:
    """Start the server, tell its URL, wait for the end of standard input."""
    import xllamacpp  # noqa: PLC0415 - optional

    parameters = xllamacpp.CommonParams()
    parameters.model.path = gguf
    parameters.model_alias = {name}  # or answers would be archived with the path of the file
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.n_parallel = 1
    threads = max(1, min(4, (os.cpu_count() or 1) // 2))  # its threads spin: beside other work more are far slower
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.cache_ram_mib = 0
    parameters.endpoint_slots = False
    parameters.offline = True
    parameters.ui = False
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # nothing to save, and the server's threads may be busy


if __name__ == "__main__":
    _child(*sys.argv[1:])
