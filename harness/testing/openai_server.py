"""A loopback server that speaks Chat Completions and batches, remembers what it was asked, and misbehaves if told to.

with OpenAIServer("```python\\ndef prune(task): ...\\n```") as server:
    ...complete(prompt, "o1", base_url=server.url, ...)
server.requests[0].body
"""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from harness.testing.batch_server import BatchServer, Reply

Behaviour = Literal[
    "answer",
    "truncate",
    "filter",
    "refuse",
    "decline",
    "unauthorized",
    "no_model",
    "rate_limit",
    "fail",
    "malformed",
    "html",
    "no_choices",
    "error_object",
    "slow",
    "drop",
    "cut",
]
"""`cut` ends the connection in the middle of an answer, `drop` before it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: dict[str, Any]
    behaviour: Behaviour = "answer"
    """How it was answered."""


class OpenAIServer:
    """Answers every request with `text`, after `behaviours` are used up, one for each request.

    Args:
        text: content of the answer.
        behaviours: what to do with the first requests; the last one is repeated when `repeat` is true.
        repeat: whether the last behaviour goes on.
        delay_seconds: how long `slow` waits before it answers.
    """

    def __init__(self, text: str = "", *behaviours: Behaviour, repeat: bool = True, delay_seconds: float = 5.0) -> None:
        self.text = text
        self.requests: list[Request] = []
        self.delay_seconds = delay_seconds
        self.rejects: dict[str, Literal["param", "words", "range"]] = {}
        """Options that are answered with HTTP 400: named as `param`, in words alone, or for their value."""
        self.batches = BatchServer(self._answered)
        """What is asked through batches; each line of one is a request to `behaviours`, too."""
        self._behaviours = list(behaviours) or ["answer"]
        self._repeat = repeat
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def behave(self, *behaviours: Behaviour) -> None:
        """Do this from the next request on, in the place of what was to come."""
        self._behaviours = list(behaviours)

    def _answered(self, body: dict[str, Any], path: str) -> Reply:
        """The answer to a line of a batch."""
        if rejected := next((name for name in self.rejects if name in body), None):
            return 400, _rejection(rejected, self.rejects[rejected])
        return _reply(self._next(), self.text, path, body, {})

    def _next(self) -> Behaviour:
        with self._lock:
            return self._taken()

    def _taken(self) -> Behaviour:
        if len(self._behaviours) == 1 and self._repeat:
            return self._behaviours[0]
        return self._behaviours.pop(0) if self._behaviours else "answer"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                self._reply(owner.batches.get(parts.path.removeprefix("/v1"), parse_qs(parts.query)))

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                if (path := self.path.removeprefix("/v1")) in ("/files", "/batches"):
                    self._reply(owner.batches.post(path, headers, content))
                    return
                body = json.loads(content)
                behaviour = owner._next()
                owner.requests.append(Request(self.path, headers, body, behaviour))
                if behaviour == "drop":
                    self._drop()
                    return
                if behaviour == "slow":
                    owner._stop.wait(owner.delay_seconds)
                status, content = _reply(behaviour, owner.text, self.path, body, headers)
                if rejected := next((name for name in owner.rejects if name in body), None):
                    status, content = 400, _rejection(rejected, owner.rejects[rejected])
                self._reply((-status if behaviour == "cut" else status, content))

            def _drop(self) -> None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

            def _reply(self, reply: Reply) -> None:
                status, content = reply
                if status == 0:
                    self._drop()
                    return
                try:
                    self._send(abs(status), content, len(content) // 2 if status < 0 else len(content))
                except OSError:  # the client has gone
                    self.close_connection = True

            def _send(self, status: int, content: bytes, until: int) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                if status >= 429:
                    self.send_header("retry-after-ms", "10")
                self.end_headers()
                self.wfile.write(content[:until])
                if until < len(content):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _rejection(option: str, how: Literal["param", "words", "range"]) -> bytes:
    """The error object for an option, as OpenAI, servers that check by pydantic, and OpenAI again word it."""
    if how == "words":
        return json.dumps({"detail": f"body.{option}: Extra inputs are not permitted"}).encode()
    code, said = ("unsupported_parameter", f"Unsupported parameter: '{option}' is not supported with this model.")
    if how == "range":
        code, said = "invalid_value", f"Invalid '{option}': expected a value between 0 and 2."
    error = {"message": said, "type": "invalid_request_error", "param": option, "code": code}
    return json.dumps({"error": error}).encode()


def _reply(
    behaviour: Behaviour, text: str, path: str, request: dict[str, Any], headers: dict[str, str]
) -> tuple[int, bytes]:
    """HTTP status and body."""
    model = request.get("model", "")
    errors = {
        "decline": (400, "Your prompt was flagged.", "invalid_prompt"),
        # real endpoints repeat the key in part; the worst case is all of it
        "unauthorized": (401, f"Incorrect API key provided: {headers.get('authorization')}.", "invalid_api_key"),
        "no_model": (404, f"The model `{model}` does not exist.", "model_not_found"),
        "rate_limit": (429, "Rate limit reached.", "rate_limit_exceeded"),
        "fail": (500, "The server had an error.", None),
        "error_object": (200, "Provider returned an error.", "502"),
    }
    if behaviour in errors:
        status, said, code = errors[behaviour]
        return status, json.dumps({"error": {"message": said, "type": "error", "code": code}}).encode()
    if behaviour == "malformed":
        return 200, b'{"choices": [{"message": {"content": "def pru'
    if behaviour == "html":
        return 200, b"<html><body>Welcome</body></html>"
    make = _response if path.endswith("/responses") else _chat
    return 200, json.dumps(make(behaviour, text, model)).encode()


_REFUSAL = "I can't help with that."


def _chat(behaviour: Behaviour, text: str, model: str) -> dict[str, Any]:
    """An object of Chat Completions."""
    reason = {"truncate": "length", "filter": "content_filter"}.get(behaviour, "stop")
    message: dict[str, str | None] = {"role": "assistant", "content": text, "refusal": None}
    if behaviour == "refuse":
        message |= {"content": None, "refusal": _REFUSAL}
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": f"{model}-2024-12-17",
        "choices": [] if behaviour == "no_choices" else [choice],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }


def _response(behaviour: Behaviour, text: str, model: str) -> dict[str, Any]:
    """An object of Responses."""
    reasons = {"truncate": "max_output_tokens", "filter": "content_filter"}
    part = {"type": "output_text", "text": text, "annotations": []}
    if behaviour == "refuse":
        part = {"type": "refusal", "refusal": _REFUSAL}
    thoughts = {"type": "reasoning", "id": "rs_0", "summary": []}
    message = {"type": "message", "id": "msg_0", "role": "assistant", "status": "completed", "content": [part]}
    return {
        "id": "resp_0",
        "object": "response",
        "created_at": int(time.time()),
        "model": f"{model}-2024-12-17",
        "status": "failed" if behaviour == "no_choices" else "incomplete" if behaviour in reasons else "completed",
        "incomplete_details": {"reason": reasons[behaviour]} if behaviour in reasons else None,
        "output": [thoughts, message],
        "usage": {
            "input_tokens": 1000,
            "output_tokens": 200,
            "output_tokens_details": {"reasoning_tokens": 150},
            "total_tokens": 1200,
        },
    }
