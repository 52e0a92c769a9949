"""The pages of a study on this machine alone, made again whenever a browser asks and there are new results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.console import notice
from harness.errors import Fault

_HOST = "127.0.0.1"
_NAMES = (_HOST, "localhost")


class PageServer(ThreadingHTTPServer):
    """Serves a folder on the loopback interface.

    `/version` is what the pages ask for to see whether they are out of date.
    """

    daemon_threads = True

    def __init__(self, folder: Path, results: Path, remake: Callable[[], object], port: int = 0) -> None:
        """Raises OSError when the port is taken.

        Args:
            folder: of the pages.
            results: the file whose changes are watched.
            remake: writes the pages anew.
            port: 0 takes any that is free.
        """
        super().__init__((_HOST, port), _Handler)
        self.folder = folder
        self._results, self._remake = results, remake
        self._made: str | None = None
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{_HOST}:{self.server_address[1]}/index.html"

    def version(self) -> str:
        """Of the results as they are now; the pages are made again first when it is a new one."""
        with self._lock:
            files = (self._results, self._results.with_name(f"{self._results.name}-wal"))
            now = " ".join(str(file.stat().st_mtime_ns) for file in files if file.exists())
            if now != self._made:
                try:
                    self._remake()
                    self._made = now
                except Fault as fault:  # the pages that are there stay, and it is tried again
                    notice(str(fault))
            return now


class _Handler(SimpleHTTPRequestHandler):
    """Answers to names of this machine only: a page of elsewhere must not read results through a name of its own."""

    def __init__(self, *arguments: Any) -> None:
        server = arguments[2]
        assert isinstance(server, PageServer)
        self._pages = server
        super().__init__(*arguments, directory=str(server.folder))

    def _is_own(self) -> bool:
        """Whether it is asked by the name of this machine, and by no page of another site."""
        host, site = self.headers.get("Host", "").partition(":")[0], self.headers.get("Sec-Fetch-Site", "none")
        return host in _NAMES and site in ("none", "same-origin")

    def do_HEAD(self) -> None:
        if self._is_own():
            super().do_HEAD()
        else:
            self.send_error(403)

    def do_GET(self) -> None:
        if not self._is_own():
            self.send_error(403)
            return
        version = self._pages.version().encode()
        if self.path != "/version":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(version)))
        self.end_headers()
        self.wfile.write(version)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Nothing: what is asked for is no news."""
