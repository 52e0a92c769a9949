"""The batch API of the loopback server: files, batches of them, and the ways in which those go wrong."""

from __future__ import annotations

import email.parser
import email.policy
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Submission = Literal[
    "take", "limit", "fail", "refuse", "drop", "invalid", "expire", "cancel", "partial", "errors", "malformed", "silent"
]
"""What becomes of a batch. Not taken: `limit` (429), `fail` (500), `refuse` (400). Taken: `drop` (and the connection
ends before the answer), `invalid` (failed), `expire` and `cancel` (half of it answered), `partial` (complete, and half
of it missing), `errors` (every other line an HTTP error), `malformed` (the first line is none, the second answers a
stranger, the third comes twice), `silent` (complete, without a file)."""
Reply = tuple[int, bytes]
"""HTTP status and body; status 0 ends the connection at once, a negative one in the middle of the body."""
_ENDS = {"invalid": "failed", "expire": "expired", "cancel": "cancelled"}


@dataclass
class Batch:
    """One batch that was taken."""

    id: str
    lines: list[dict[str, Any]]
    behaviour: Submission
    record: dict[str, Any]
    polls: int = 0


@dataclass
class BatchServer:
    """The state behind `/files` and `/batches`; `answer` makes HTTP status and body of a request's body and path."""

    answer: Callable[[dict[str, Any], str], Reply]
    polls: int = 2
    """How often a batch is still running when it is looked at."""
    page: int = 100
    """How many batches a list shows at a time."""
    submissions: list[Submission] = field(default_factory=list)
    """For the next submissions, one for each; then all are taken."""
    downloads: list[Literal["fail", "cut", "gone"]] = field(default_factory=list)
    """Likewise for files of answers: HTTP 500, half of it, HTTP 404."""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    """Those that were taken, in order."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, path: str, headers: dict[str, str], content: bytes) -> Reply:
        """A file or a batch is given."""
        with self.lock:
            self.asked.append(("POST", path))
            return self._file(headers, content) if path == "/files" else self._submitted(json.loads(content))

    def get(self, path: str, query: dict[str, list[str]]) -> Reply:
        """A batch, a list of them or the content of a file is asked for."""
        with self.lock:
            self.asked.append(("GET", path))
            if path == "/batches":
                return self._listed(query)
            kind, _, rest = path.strip("/").partition("/")
            if kind == "files" and rest.endswith("/content"):
                return self._content(rest.removesuffix("/content"))
            found = next((batch for batch in self.batches if batch.id == rest), None)
            return _error(404, f"No batch {rest}.") if found is None else (200, self._looked_at(found))

    def ids(self) -> list[str]:
        """The custom ids of all lines that were taken, in order."""
        return [line["custom_id"] for batch in self.batches for line in batch.lines]

    def _file(self, headers: dict[str, str], content: bytes) -> Reply:
        head = f"content-type: {headers['content-type']}\r\n\r\n".encode()
        form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + content)
        parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        if parts["purpose"].get_content().strip() != "batch":
            return _error(400, "Another purpose.")
        name = f"file-{len(self.files)}"
        self.files[name] = bytes(parts["file"].get_content())
        return 200, json.dumps({"id": name, "object": "file", "purpose": "batch"}).encode()

    def _submitted(self, asked: dict[str, Any]) -> Reply:
        behaviour = self.submissions.pop(0) if self.submissions else "take"
        if behaviour in ("limit", "fail", "refuse"):
            status = {"limit": 429, "fail": 500, "refuse": 400}[behaviour]
            return _error(status, {429: "Too many.", 500: "The server had an error.", 400: "No such file."}[status])
        name = f"batch_{len(self.batches)}"
        record = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "metadata": asked["metadata"],
            "status": "validating",
            "created_at": int(time.time()),
        }
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        if any(line["url"] != asked["endpoint"] for line in lines):
            return _error(400, "A line for another endpoint.")
        batch = Batch(name, lines, behaviour, record)
        self.batches.append(batch)
        return (0, b"") if behaviour == "drop" else (200, json.dumps(record).encode())

    def _listed(self, query: dict[str, list[str]]) -> Reply:
        newest = self.batches[::-1]
        after = [place for place, batch in enumerate(newest) if [batch.id] == query.get("after")]
        rest = newest[after[0] + 1 :] if after else newest
        data = [batch.record for batch in rest[: self.page]]
        return 200, json.dumps({"object": "list", "data": data, "has_more": len(rest) > self.page}).encode()

    def _looked_at(self, batch: Batch) -> bytes:
        batch.polls += 1
        status = batch.record["status"]
        if status in ("validating", "in_progress"):
            status = "in_progress" if batch.polls <= self.polls else _ENDS.get(batch.behaviour, "completed")
            batch.record["status"] = status
            if status != "in_progress":
                self._end(batch)
        return json.dumps(batch.record).encode()

    def _end(self, batch: Batch) -> None:
        batch.record[f"{batch.record['status']}_at"] = batch.record["created_at"] + 90
        if batch.behaviour == "invalid":
            error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached.", "line": None}
            batch.record["errors"] = {"object": "list", "data": [error]}
            return
        if batch.behaviour == "silent":
            return
        good, bad = self._answers(batch)
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                file = f"{batch.id}-{name}"
                self.files[file] = b"".join(line + b"\n" for line in lines)
                batch.record[name] = file

    def _answers(self, batch: Batch) -> tuple[list[bytes], list[bytes]]:
        """The lines of the file of answers, which are in another order than they were asked, and of that of errors."""
        good: list[bytes] = []
        bad: list[bytes] = []
        for place, line in enumerate(batch.lines):
            if place % 2 and batch.behaviour in ("expire", "cancel"):
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                bad.append(_line(line["custom_id"], None, error))
            elif place % 2 and batch.behaviour == "partial":
                continue
            else:
                fails = place % 2 and batch.behaviour == "errors"
                status, content = _error(500, "No.") if fails else self.answer(line["body"], line["url"])
                response = {"status_code": status, "request_id": f"req-{place}", "body": json.loads(content)}
                (good if status == 200 else bad).append(_line(line["custom_id"], response, None))
        good.reverse()
        if batch.behaviour == "malformed":
            good[0] = good[0][: len(good[0]) // 2]
            good[1] = good[1].replace(b'"custom_id": "', b'"custom_id": "another/')
            good.append(good[2])
        return good, bad

    def _content(self, file: str) -> Reply:
        how = self.downloads.pop(0) if self.downloads else None
        if how == "fail":
            return _error(500, "The server had an error.")
        if how == "gone" or file not in self.files:
            return _error(404, f"No file {file}.")
        return (-200 if how == "cut" else 200), self.files[file]


def _line(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    found = {"id": "batch_req_0", "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(found).encode()


def _error(status: int, said: str) -> Reply:
    return status, json.dumps({"error": {"message": said, "type": "error", "code": None}}).encode()
