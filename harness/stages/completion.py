"""Completion: one request to a model, and its raw answer. Only this module and harness/batch_endpoint.py import openai.

Nothing is sent but the model's name and one user message, unless asked for; and what an endpoint says that it does not
take, such as a temperature for a reasoning model, is left out or spelt otherwise, and it is asked again. The key is
neither logged nor stored.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from harness import endpoints
from harness.console import notice, plain
from harness.errors import EndpointFault
from harness.records import Completion, Exchange, Prompt, Recorder

Api = Literal["chat", "responses"]
"""Chat Completions, which every endpoint speaks, or Responses, OpenAI's own."""

RETRIES = 2
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_REFUSALS = {"content_filter", "content_policy_violation", "invalid_prompt"}
"""Error codes with which an endpoint declines a prompt because of its content: an answer, not a fault."""
PATHS = {"chat": "chat/completions", "responses": "responses"}
"""Of the two ways to ask, below the base URL."""
_HEADERS = ("content-type", "retry-after", "x-request-id", "openai-processing-ms")
"""What is kept of an answer's headers."""
_NOT_TAKEN = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|extra", re.IGNORECASE
)
"""How endpoints say that they do not take an option; a value that is out of range is the user's to mend."""
_LIMITS = {"max_tokens", "max_output_tokens"}
"""Options that nothing stands in for: without them, an answer has no limit."""

_HINTS = {
    400: "leave out the options that it names",
    401: "check OPENAI_API_KEY",
    403: "this key may not use the model: check --model and the account",
    404: "check --model, and that the base URL ends as the endpoint wants it, mostly in /v1",
    422: "leave out the options that it names",
    429: "wait, or check the account's quota",
}


class _NoRecorder:
    """Where requests are kept nowhere but in the archive."""

    def sent(self, request: dict[str, Any]) -> None:
        """As `harness.records.Recorder` says."""

    def received(self, exchange: Exchange) -> None:
        """As `harness.records.Recorder` says."""


class _UnsupportedError(Exception):
    """The endpoint takes no such option."""

    def __init__(self, option: str, said: str) -> None:
        super().__init__(said)
        self.option = option


def complete(
    prompt: Prompt,
    model: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    api: Api = "chat",
    timeout_seconds: float,
    max_tokens: int | None = None,
    temperature: float | None = None,
    reasoning_effort: str | None = None,
    retries: int = RETRIES,
    recorder: Recorder | None = None,
    unsupported: set[str] | None = None,
) -> Completion:
    """Ask `model` once; a limit of requests, a failure of the server or a timeout is tried again.

    Args:
        prompt: becomes the single user message.
        model: the model's name as the endpoint knows it.
        base_url: of an OpenAI-compatible endpoint, or the name of one of `harness.endpoints.PRESETS`;
            `OPENAI_BASE_URL`, then OpenAI's own by default.
        api_key: that of the environment or the keyring by default; endpoints that are not known to need one are also
            asked without.
        api: how the endpoint is spoken to.
        timeout_seconds: the longest silence of the endpoint in one attempt.
        max_tokens: of the answer, reasoning included.
        temperature: sent only when given.
        reasoning_effort: sent only when given.
        retries: how often a passing failure is tried again, after as long as the endpoint says.
        recorder: is told of each request before it is sent, and of each answer before it is read.
        unsupported: options that this endpoint and model are known not to take; what is learnt is added.

    Raises:
        UsageError: the key is missing or no key at all, or the base URL is none.
        EndpointFault: the endpoint cannot be reached, failed, or did not answer as it should.
    """
    endpoint = endpoints.find(base_url)
    key = endpoints.checked_key(api_key.strip(), "OPENAI_API_KEY") if api_key else endpoints.key(endpoint)
    unsupported = set() if unsupported is None else unsupported
    options = {"max_tokens": max_tokens, "temperature": temperature, "reasoning_effort": reasoning_effort}
    while True:
        body = body_of(prompt.text, model, api, options, unsupported)
        try:
            exchange = _post(endpoint, key, api, body, timeout_seconds, retries, recorder or _NoRecorder())
            return answer(model, exchange)
        except _UnsupportedError as error:
            if error.option in _LIMITS:
                said = f"does not take {error.option} ({error}): leave it out"
                raise EndpointFault(f"{endpoint.base_url} {said}") from None
            unsupported.add(error.option)
            notice(f"{plain(model, 60)} does not take {error.option}: asked again without")


def answer(model: str, exchange: Exchange) -> Completion:
    """What a recorded answer says.

    Raises:
        EndpointFault: it is no answer of a model; `passing`, since the next one may be.
    """
    endpoint = str(exchange.request["url"]).removesuffix("/responses").removesuffix("/chat/completions")
    try:
        response = json.loads(exchange.content.decode())
    except (ValueError, RecursionError):
        said = "did not answer with JSON: check the base URL, mostly it ends in /v1"
        raise EndpointFault(f"{endpoint} {said}", passing=True) from None
    if not isinstance(response, dict):
        raise EndpointFault(f"{endpoint} answered with JSON that is no object: check the base URL", passing=True)
    read = _read_responses if str(exchange.request["url"]).endswith("/responses") else _read_chat
    text, finish_reason, refusal = _declined(response, endpoint) or read(response, endpoint)
    seconds = round(exchange.seconds, 3)
    return Completion(model, text, finish_reason, refusal, exchange.request, response, seconds, exchange.created)


def text_of(response: Any) -> str | None:
    """The text of an answer of either API that was kept; None where it has another form."""
    if not isinstance(response, dict):
        return None
    read = _read_responses if "output" in response else _read_chat
    try:
        return read(response, "")[0]
    except EndpointFault:
        return None


def body_of(text: str, model: str, api: Api, options: dict[str, Any], unsupported: set[str]) -> dict[str, Any]:
    """What is sent, without the options that are None or known not to be taken."""
    asked = {"messages": [{"role": "user", "content": text}]} if api == "chat" else {"input": text}
    body: dict[str, Any] = {"model": model, **asked}
    for name, value in options.items():
        spelt = _spelt(name, api, unsupported)
        if value is None or spelt in unsupported:
            continue
        body[spelt] = {"effort": value} if spelt == "reasoning" else value
    return body


def _spelt(name: str, api: Api, unsupported: set[str]) -> str:
    """How the endpoint calls an option; older ones know `max_tokens` alone."""
    if name == "max_tokens":
        if api == "responses":
            return "max_output_tokens"
        return "max_tokens" if "max_completion_tokens" in unsupported else "max_completion_tokens"
    return "reasoning" if (name, api) == ("reasoning_effort", "responses") else name


def _post(
    endpoint: endpoints.Endpoint,
    key: str,
    api: Api,
    body: dict[str, Any],
    timeout_seconds: float,
    retries: int,
    recorder: Recorder,
) -> Exchange:
    """The last exchange with the endpoint: an answer, or the error object with which it declines a prompt."""
    import openai  # noqa: PLC0415 - takes a second to import

    url = endpoint.base_url
    request = {"method": "POST", "url": f"{url}/{PATHS[api]}", "body": body}
    seen: list[Exchange] = []
    started: list[tuple[float, str]] = []

    def sending(_: Any) -> None:
        recorder.sent(request)
        started.append((time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")))

    def received(response: Any) -> None:
        content = response.read()
        if len(key) >= 8:  # in case that the endpoint repeats it
            content = content.replace(key.encode(), b"[key]")
        headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        clock, created = started[-1]
        seen[:] = [Exchange(request, response.status_code, headers, content, time.monotonic() - clock, created)]
        recorder.received(seen[0])

    hooks: dict[str, list[Callable[..., Any]]] = {"request": [sending], "response": [received]}
    try:
        with openai.OpenAI(
            api_key=key,
            base_url=url,
            timeout=timeout_seconds,
            max_retries=retries,
            http_client=openai.DefaultHttpxClient(trust_env=not is_loopback(url), event_hooks=hooks),
        ) as client:
            if api == "chat":
                client.chat.completions.with_raw_response.create(**body)
            else:
                client.responses.with_raw_response.create(**body)
    except openai.APIStatusError as error:
        if error.status_code == 400 and error.code in _REFUSALS:
            return seen[0]
        if error.status_code in (400, 422) and (option := _blamed(error.body, body)):
            raise _UnsupportedError(option, redact(key, plain(words(error.body), 300))) from None
        refused = error.status_code in (401, 403, 404)
        asked = f"model {body['model'][:80]!r}"
        said = redact(key, explained(error.status_code, error.body, endpoint, asked))
        raise EndpointFault(said, passing=not refused, limited=error.status_code == 429) from None
    except openai.APITimeoutError:
        times = f"{retries + 1} times: give a longer --timeout"
        raise EndpointFault(f"{url} did not answer within {timeout_seconds:g} s, {times}", passing=True) from None
    except openai.APIConnectionError as error:
        cause = plain(str(error.__cause__ or error), 200)
        said = f"cannot reach {url} ({cause}): check the base URL and the network"
        raise EndpointFault(said, passing=True) from None
    except openai.OpenAIError as error:
        raise EndpointFault(redact(key, f"{url} could not be asked: {plain(str(error), 300)}")) from None
    return seen[0]


def is_loopback(url: str) -> bool:
    """Whether it is on this machine, which a proxy of the environment cannot reach."""
    return urlsplit(url).hostname in _LOOPBACK


def not_taken(exchange: Exchange) -> str | None:
    """The option that a recorded answer says is not taken; None where it blames none that can be left out."""
    try:
        found = json.loads(exchange.content) if exchange.status in (400, 422) else None
    except (ValueError, RecursionError):
        return None
    blamed = _blamed(found.get("error", found), exchange.request["body"]) if isinstance(found, dict) else None
    return None if blamed in _LIMITS else blamed


def _blamed(error: object, body: dict[str, Any]) -> str | None:
    """The option of the request that the endpoint says it does not take."""
    code, param = (error.get("code"), error.get("param")) if isinstance(error, dict) else (None, None)
    sent = [name for name in body if name not in ("model", "messages", "input")]
    said = words(error)
    if not _NOT_TAKEN.search(f"{code} {said}"):
        return None
    named = str(param or "").partition(".")[0]
    return named if named in sent else next((name for name in sent if re.search(rf"\b{name}\b", said)), None)


def explained(
    status: int, error: object, endpoint: endpoints.Endpoint, asked: str, hints: Mapping[int, str] = _HINTS
) -> str:
    """A line on an answer to `asked` that is an error: what the endpoint says, and what to do."""
    said = plain(words(error) or f"HTTP {status}", 300).replace("\n", " ")
    hint = hints.get(status, "try again later").replace("OPENAI_API_KEY", endpoint.key_variable)
    return f"{endpoint.base_url} answered HTTP {status} for {asked}: {said}; {hint}"


def words(error: object) -> str:
    """The message of an error object, whatever its form."""
    if isinstance(error, dict):
        return words(error.get("message") or error.get("error") or error.get("detail"))
    return error.strip() if isinstance(error, str) and not error.lstrip().startswith("<") else ""


def redact(key: str, text: str) -> str:
    """`text` without the key, in case that an endpoint repeats it."""
    return text.replace(key, "[key]") if len(key) >= 8 else text


Read = tuple[str, str | None, str | None]
"""Text, finish reason and refusal of a response."""


def _declined(response: dict[str, Any], endpoint: str) -> Read | None:
    """Of an error object in the place of an answer; None where there is none."""
    if not (error := response.get("error")):
        return None
    said = words(error)
    if isinstance(error, dict) and error.get("code") in _REFUSALS:
        return "", "content_filter", said or "the endpoint declined the prompt"
    why = plain(said, 300) or "it does not say which"
    raise EndpointFault(f"{endpoint} answered with an error: {why}", passing=True)


def _read_chat(response: dict[str, Any], endpoint: str) -> Read:
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        said = "answered without a choice: try again, or check that it serves chat models"
        raise EndpointFault(f"{endpoint} {said}", passing=True)
    content, finish_reason, refusal = message.get("content"), choice.get("finish_reason"), message.get("refusal")
    if isinstance(content, list):  # parts, as some endpoints send them
        content = _joined(content, "text")
    return (
        content if isinstance(content, str) else "",
        finish_reason if isinstance(finish_reason, str) else None,
        refusal if isinstance(refusal, str) and refusal else None,
    )


def _read_responses(response: dict[str, Any], endpoint: str) -> Read:
    output, status = response.get("output"), response.get("status")
    if not isinstance(output, list) or status not in ("completed", "incomplete"):
        said = f"answered with a response that is {plain(str(status), 40)}: try again, or use the chat API"
        raise EndpointFault(f"{endpoint} {said}", passing=True)
    parts = [
        part
        for item in output
        if isinstance(item, dict) and item.get("type") == "message" and isinstance(item.get("content"), list)
        for part in item["content"]
    ]
    finish_reason = "stop"
    if status == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        finish_reason = "content_filter" if reason == "content_filter" else "length"
    return _joined(parts, "text"), finish_reason, _joined(parts, "refusal") or None


def _joined(parts: list[Any], name: str) -> str:
    return "".join(str(part.get(name) or "") for part in parts if isinstance(part, dict))
