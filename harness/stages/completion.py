"""Completion: one Chat Completions request to a model, and its raw answer. Only this module imports openai.

Nothing is sent but the model's name and one user message, unless asked for: models that accept no system message,
temperature or `max_tokens`, such as o1, take it as it is. The key is neither logged nor stored.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.console import plain
from harness.errors import EndpointFault, UsageError
from harness.records import Completion, Prompt

if TYPE_CHECKING:
    import openai

_OPENAI = "https://api.openai.com/v1"
_RETRIES = 2
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_REFUSALS = {"content_filter", "content_policy_violation", "invalid_prompt"}
"""Error codes with which an endpoint declines a prompt because of its content: an answer, not a fault."""

_HINTS = {
    400: "leave out the options that it names",
    401: "check OPENAI_API_KEY",
    403: "this key may not use the model: check --model and the account",
    404: "check --model, and that the base URL ends as the endpoint wants it, mostly in /v1",
    422: "leave out the options that it names",
    429: "wait, or check the account's quota",
}


def complete(
    prompt: Prompt,
    model: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    timeout_seconds: float,
    max_tokens: int | None = None,
    temperature: float | None = None,
    reasoning_effort: str | None = None,
) -> Completion:
    """Ask `model` once; a limit of requests, a failure of the server or a timeout is tried twice again.

    Args:
        prompt: becomes the single user message.
        model: the model's name as the endpoint knows it.
        base_url: of an OpenAI-compatible endpoint; `OPENAI_BASE_URL`, then OpenAI's own by default.
        api_key: `OPENAI_API_KEY` by default; endpoints other than OpenAI's are also asked without one.
        timeout_seconds: the longest silence of the endpoint in one attempt.
        max_tokens: of the answer, reasoning included; sent as `max_completion_tokens`.
        temperature: sent only when given.
        reasoning_effort: sent only when given.

    Raises:
        UsageError: the key is missing or no key at all, or the base URL is none.
        EndpointFault: the endpoint cannot be reached, failed, or did not answer as Chat Completions do.
    """
    endpoint = _endpoint(base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI)
    key = _key(api_key or os.environ.get("OPENAI_API_KEY", ""), needed=endpoint == _OPENAI)
    options = {
        "max_completion_tokens": max_tokens,
        "temperature": temperature,
        "reasoning_effort": reasoning_effort,
    }
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt.text}],
        **{name: value for name, value in options.items() if value is not None},
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    start = time.monotonic()
    response = _post(endpoint, key, body, timeout_seconds)
    latency = time.monotonic() - start
    text, finish_reason, refusal = _read(response, endpoint)
    request = {"method": "POST", "url": f"{endpoint}/chat/completions", "body": body}
    return Completion(model, text, finish_reason, refusal, request, response, round(latency, 3), created)


def _endpoint(url: str) -> str:
    """The base URL without a slash at its end; it is archived, so it may hold no password and no query."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("the base URL is not one: it should look like http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("the base URL is archived: leave its password and query out, and set OPENAI_API_KEY")
    return url.rstrip("/")


def _key(key: str, *, needed: bool) -> str:
    key = key.strip()
    if needed and not key:
        raise UsageError("no key: set OPENAI_API_KEY, or give another endpoint with --base-url")
    if not key.isascii() or not key.isprintable():
        raise UsageError("OPENAI_API_KEY holds characters that no key has: set it again")
    return key or "none"


def _post(endpoint: str, key: str, body: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
    """The JSON object that the endpoint answered; also the error object with which it declines a prompt."""
    import openai  # noqa: PLC0415 - takes a second to import

    direct = urlsplit(endpoint).hostname in _LOOPBACK  # a proxy of the environment cannot reach this machine
    try:
        with openai.OpenAI(
            api_key=key,
            base_url=endpoint,
            timeout=timeout_seconds,
            max_retries=_RETRIES,
            http_client=openai.DefaultHttpxClient(trust_env=False) if direct else None,
        ) as client:
            content = client.chat.completions.with_raw_response.create(**body).http_response.content
    except openai.APIStatusError as error:
        if error.status_code == 400 and error.code in _REFUSALS:
            declined: dict[str, Any] = json.loads(_redact(key, json.dumps({"error": error.body})))
            return declined
        raise EndpointFault(_redact(key, _failed(error, endpoint, body["model"]))) from None
    except openai.APITimeoutError:
        raise EndpointFault(
            f"{endpoint} did not answer within {timeout_seconds:g} s, {_RETRIES + 1} times: give a longer --timeout"
        ) from None
    except openai.APIConnectionError as error:
        raise EndpointFault(
            f"cannot reach {endpoint} ({plain(str(error.__cause__ or error), 200)}): check the base URL and the network"
        ) from None
    except openai.OpenAIError as error:
        raise EndpointFault(_redact(key, f"{endpoint} could not be asked: {plain(str(error), 300)}")) from None
    try:
        response = json.loads(_redact(key, content.decode()))
    except (ValueError, RecursionError):
        raise EndpointFault(f"{endpoint} did not answer with JSON: check the base URL, mostly it ends in /v1") from None
    if not isinstance(response, dict):
        raise EndpointFault(f"{endpoint} answered with JSON that is no object: check the base URL")
    return response


def _failed(error: openai.APIStatusError, endpoint: str, model: str) -> str:
    said = plain(_said(error.body) or f"HTTP {error.status_code}", 300).replace("\n", " ")
    hint = _HINTS.get(error.status_code, "try again later")
    return f"{endpoint} answered HTTP {error.status_code} for model {model[:80]!r}: {said}; {hint}"


def _said(error: object) -> str:
    """The message of an error object, whatever its form."""
    if isinstance(error, dict):
        return _said(error.get("message") or error.get("error") or error.get("detail"))
    return error.strip() if isinstance(error, str) and not error.lstrip().startswith("<") else ""


def _redact(key: str, text: str) -> str:
    """`text` without the key, in case that an endpoint repeats it."""
    return text.replace(key, "[key]") if len(key) >= 8 else text


def _read(response: dict[str, Any], endpoint: str) -> tuple[str, str | None, str | None]:
    """Text, finish reason and refusal of a response."""
    if error := response.get("error"):
        said = _said(error)
        if isinstance(error, dict) and error.get("code") in _REFUSALS:
            return "", "content_filter", said or "the endpoint declined the prompt"
        raise EndpointFault(f"{endpoint} answered with an error: {plain(said, 300) or 'it does not say which'}")
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise EndpointFault(f"{endpoint} answered without a choice: try again, or check that it serves chat models")
    content, finish_reason, refusal = message.get("content"), choice.get("finish_reason"), message.get("refusal")
    if isinstance(content, list):  # parts, as some endpoints send them
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return (
        content if isinstance(content, str) else "",
        finish_reason if isinstance(finish_reason, str) else None,
        refusal if isinstance(refusal, str) and refusal else None,
    )
