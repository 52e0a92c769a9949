"""The lines of a batch: requests as they go up, and what the lines that come back say. Strangers write the latter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.console import plain
from harness.ledger import Attempt
from harness.records import Exchange
from harness.stages.completion import PATHS, Api, body_of, words
from harness.study import StudyGenerator

Request = tuple[str, dict[str, Any]]
"""An attempt's id, and its request as it is kept."""

MOST_REQUESTS = 50_000
"""In one batch, as OpenAI takes them."""
MOST_BYTES = 190_000_000
"""Likewise; 200 MB, and some room."""


@dataclass
class Returned:
    """What came back of a batch."""

    answers: dict[str, Exchange] = field(default_factory=dict)
    """By attempt: HTTP answers, errors among them."""
    reasons: dict[str, str] = field(default_factory=dict)
    """By attempt: why there is no HTTP answer."""
    unreadable: int = 0
    """Lines that say nothing of any attempt of the batch."""


def requests(
    generator: StudyGenerator, url: str, attempts: Iterable[Attempt], unsupported: set[str]
) -> Iterator[Request]:
    """What is asked, in the form in which direct requests are kept, and with the id that marks a line of a batch."""
    options = {
        "max_tokens": generator.max_tokens,
        "temperature": generator.temperature,
        "reasoning_effort": generator.reasoning_effort,
    }
    for attempt in attempts:
        body = body_of(attempt.prompt.text, generator.model, generator.api, options, unsupported)
        address = f"{url}/{PATHS[generator.api]}"
        yield attempt.id, {"custom_id": attempt.id, "method": "POST", "url": address, "body": body}


def line(request: Mapping[str, Any], api: Api) -> bytes:
    """A request as a line of a batch's file."""
    return json.dumps({**request, "url": f"/v1/{PATHS[api]}"}).encode() + b"\n"


def parts(asked: Iterable[Request], api: Api) -> Iterator[Sequence[Request]]:
    """`asked` in as many parts as a batch may be large, in order."""
    part: list[Request] = []
    size = 0
    for one in asked:
        length = len(line(one[1], api))
        if part and (len(part) == MOST_REQUESTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(one)
        size += length
    if part:
        yield part


def returned(lines: Iterable[bytes], asked: Mapping[str, dict[str, Any]], seconds: float, created: str) -> Returned:
    """What `lines` say of the requests `asked`, by attempt; of two to one attempt, the first counts.

    Args:
        lines: as they came.
        asked: the requests of the batch.
        seconds: that the batch took, since no line says what it took itself.
        created: when the batch was filed.
    """
    found = Returned()
    for text in lines:
        if not text.strip():
            continue
        said = _object(text)
        attempt = said.get("custom_id")
        if not isinstance(attempt, str) or attempt not in asked:
            found.unreadable += 1
        elif attempt not in found.answers:
            exchange = _exchange(said.get("response"), asked[attempt], seconds, created)
            if exchange is not None:
                found.answers[attempt] = exchange
            else:
                found.reasons[attempt] = _reason(said.get("error"))
    return found


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _exchange(response: object, request: dict[str, Any], seconds: float, created: str) -> Exchange | None:
    status = response.get("status_code") if isinstance(response, dict) else None
    if not isinstance(response, dict) or not isinstance(status, int) or not 100 <= status < 600:
        return None
    name = response.get("request_id")
    headers = {"x-request-id": name[:200]} if isinstance(name, str) else {}
    return Exchange(request, status, headers, json.dumps(response.get("body")).encode(), seconds, created)


def _reason(error: object) -> str:
    code = error.get("code") if isinstance(error, dict) else None
    return plain(words(error) or (code if isinstance(code, str) else "no answer and no reason"), 300).replace("\n", " ")


def content(exchange: Exchange) -> object:
    """The body of an answer, which came as JSON."""
    return json.loads(exchange.content)
