"""The batch API of an endpoint: a file of requests up, a batch of them, and files of answers down.

As OpenAI describes it, and others have it too. Whatever comes back is a stranger's: checked here, and bounded where it
is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from harness import endpoints
from harness.console import plain
from harness.errors import EndpointFault
from harness.stages.completion import PATHS, Api, explained, is_loopback, redact, words

ENDED = ("completed", "failed", "expired", "cancelled")
"""States of a batch that does nothing more."""
_RETRIES = 4
"""Of requests that may be made twice: all but a submission."""
_HINTS = {
    401: "check OPENAI_API_KEY",
    403: "this key may not use batches: check the account",
    404: "check that it has a batch API, and that the key is of the account that made the batch",
    429: "wait, or check the account's quota",
}
_PAGE = 100
_PAGES = 1000


class NotAcceptedFault(EndpointFault):
    """The endpoint has answered that it does not take the batch: there is none."""


class UnknownFault(EndpointFault):
    """The endpoint has no such batch or file."""


@dataclass(frozen=True, slots=True)
class State:
    """What an endpoint says of a batch."""

    id: str
    status: str
    files: tuple[str, ...]
    """Of answers and of errors, as far as there are any yet."""
    counts: str
    """How many of its requests are done, in words; empty where the endpoint does not say."""
    said: str
    """Why it failed; empty where it did not."""
    seconds: float | None
    """From its creation to its end; None before that, or where the endpoint does not say."""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.status in ENDED


class BatchEndpoint:
    """Speaks with one endpoint; a context manager."""

    def __init__(self, base_url: str | None, timeout_seconds: float) -> None:
        """Every method raises EndpointFault: `passing` where trying again may help.

        Raises:
            UsageError: the base URL is none, or the key is missing.
        """
        import openai  # noqa: PLC0415 - takes a second to import

        self.endpoint = endpoints.find(base_url)
        self._key = endpoints.key(self.endpoint)
        self._client = openai.OpenAI(
            api_key=self._key,
            base_url=self.endpoint.base_url,
            timeout=timeout_seconds,
            max_retries=_RETRIES,
            http_client=openai.DefaultHttpxClient(trust_env=not is_loopback(self.endpoint.base_url)),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def upload(self, name: str, content: bytes) -> str:
        """Send a file of requests; its id."""
        send = self._client.files.with_raw_response.create
        return _text(self._asked("a file", lambda: send(file=(name, content), purpose="batch")), "id", "a file")

    def submit(self, file: str, api: Api, metadata: dict[str, str]) -> State:
        """Make a batch of a file, once: after a fault that is no NotAcceptedFault, it may be there all the same."""
        send = self._client.with_options(max_retries=0).batches.with_raw_response.create
        path: Any = f"/v1/{PATHS[api]}"
        return _state(
            self._asked(
                "a batch",
                lambda: send(input_file_id=file, endpoint=path, completion_window="24h", metadata=metadata),
                kind=NotAcceptedFault,
            )
        )

    def state(self, batch: str) -> State:
        """How a batch is.

        Raises:
            UnknownFault: there is no such batch.
        """
        return _state(
            self._asked(f"batch {batch[:80]}", lambda: self._client.batches.with_raw_response.retrieve(batch))
        )

    def find(self, metadata: Mapping[str, str], since: float) -> State | None:
        """The batch with this metadata among those that are not older than `since` (a UNIX time)."""
        lists = self._client.batches.with_raw_response.list
        after: dict[str, str] = {}
        for _ in range(_PAGES):
            page = self._asked("its batches", lambda asked=after: lists(limit=_PAGE, **asked))  # type: ignore[misc]
            listed = page.get("data")
            listed = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
            for one in listed:
                found = one.get("metadata")
                if isinstance(found, dict) and all(found.get(name) == value for name, value in metadata.items()):
                    return _state(one)
            oldest = listed[-1] if listed else {}
            if page.get("has_more") is not True or _seconds(oldest.get("created_at"), since) < since:
                return None  # the newest come first
            after = {"after": _text(oldest, "id", "its batches")}
        return None

    def lines(self, file: str) -> list[bytes]:
        """The lines of a file of answers; without the key, should it be repeated.

        Raises:
            UnknownFault: there is no such file.
        """
        with self._faults(f"file {file[:80]}"):
            content = self._client.files.content(file).content
        if len(self._key) >= 8:
            content = content.replace(self._key.encode(), b"[key]")
        return content.removesuffix(b"\n").split(b"\n") if content else []

    def _asked(self, what: str, send: Callable[[], Any], kind: type[EndpointFault] = EndpointFault) -> dict[str, Any]:
        """An object that the endpoint answered with; `kind` is the fault of an answer that it does not do it."""
        with self._faults(what, kind):
            content = send().content
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise EndpointFault(
                f"{self.endpoint.base_url} was asked for {what} and did not answer with a JSON object", passing=True
            )
        return found

    @contextmanager
    def _faults(self, what: str, kind: type[EndpointFault] = EndpointFault) -> Iterator[None]:
        """What the client raises in the block as faults."""
        import openai  # noqa: PLC0415

        url = self.endpoint.base_url
        try:
            yield
        except openai.APIStatusError as error:
            status = error.status_code
            said = redact(self._key, explained(status, error.body, self.endpoint, what, _HINTS))
            if status == 404 and kind is EndpointFault:
                raise UnknownFault(said) from None
            refused = 400 <= status < 500 and status not in (408, 409, 429)
            fault = kind if 400 <= status < 500 and status != 408 else EndpointFault
            raise fault(said, passing=not refused, limited=status == 429) from None
        except openai.APIConnectionError as error:
            cause = plain(str(error.__cause__ or error), 200)
            said = f"cannot reach {url} for {what} ({cause}): check the base URL and the network"
            raise EndpointFault(said, passing=True) from None
        except openai.OpenAIError as error:
            said = redact(self._key, f"{url} could not be asked for {what}: {plain(str(error), 300)}")
            raise EndpointFault(said) from None


def _state(found: dict[str, Any]) -> State:
    started = found.get("created_at")
    ends = (found.get(f"{status}_at") for status in ENDED)
    ended = next((end for end in ends if isinstance(end, int) and not isinstance(end, bool)), None)
    files = (found.get("output_file_id"), found.get("error_file_id"))
    return State(
        _text(found, "id", "a batch"),
        plain(_text(found, "status", "a batch"), 40),
        tuple(file for file in files if isinstance(file, str) and file),
        _counts(found.get("request_counts")),
        _said(found.get("errors")),
        None if ended is None else max(0.0, ended - _seconds(started, ended)),
    )


def _text(found: Mapping[str, Any], name: str, what: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise EndpointFault(f"the endpoint was asked for {what}, and its answer has no {name}", passing=True)
    return value


def _seconds(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _counts(found: object) -> str:
    if not isinstance(found, dict):
        return ""
    done, total = found.get("completed"), found.get("total")
    return f"{done} of {total} done" if isinstance(done, int) and isinstance(total, int) and total else ""


def _said(errors: object) -> str:
    """The first error of a batch that failed."""
    listed = errors.get("data") if isinstance(errors, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    return plain(words(first), 300).replace("\n", " ")
