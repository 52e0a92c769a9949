"""One request to an endpoint, and all that can go wrong with it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness import endpoints
from harness.errors import EndpointFault, UsageError
from harness.records import Completion, Exchange, Idea, Prompt
from harness.stages.completion import complete, text_of
from harness.testing.openai_server import Behaviour, OpenAIServer

KEY = "sk-test-0123456789"
PROMPT = Prompt(Idea("x", "X", "An idea."), "Write a pruner.", "one-pass", "0" * 64)
ANSWER = "```python\ndef prune(task): ...\n```"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    yield


def ask(server: OpenAIServer, **options: Any) -> Completion:
    return complete(PROMPT, "o1", **{"base_url": server.url, "timeout_seconds": 20.0, **options})


def test_nothing_is_sent_but_model_and_message() -> None:
    with OpenAIServer(ANSWER) as server:
        completion = ask(server)
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {"model": "o1", "messages": [{"role": "user", "content": "Write a pruner."}]}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert completion.text == ANSWER
    assert completion.finish_reason == "stop"
    assert completion.refusal is None
    assert completion.request == {"method": "POST", "url": f"{server.url}/chat/completions", "body": request.body}
    assert completion.response["usage"]["completion_tokens"] == 200
    assert completion.response["model"] == "o1-2024-12-17"
    assert completion.latency_seconds >= 0
    assert completion.created.endswith("+00:00")
    assert KEY not in repr(completion)


def test_what_is_asked_for_is_sent() -> None:
    with OpenAIServer(ANSWER) as server:
        ask(server, max_tokens=5, temperature=0.0, reasoning_effort="low")
    body = server.requests[0].body
    assert body["max_completion_tokens"] == 5
    assert body["temperature"] == 0.0
    assert body["reasoning_effort"] == "low"
    assert "max_tokens" not in body


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("behaviour", "finish_reason", "refusal", "text"),
    [
        ("truncate", "length", None, ANSWER),
        ("filter", "content_filter", None, ANSWER),
        ("refuse", "stop", "I can't help with that.", ""),
        ("decline", "content_filter", "Your prompt was flagged.", ""),
    ],
)
def test_outcomes(behaviour: Behaviour, finish_reason: str, refusal: str | None, text: str, api: str) -> None:
    with OpenAIServer(ANSWER, behaviour) as server:
        completion = ask(server, api=api)
    assert (completion.finish_reason, completion.refusal, completion.text) == (finish_reason, refusal, text)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("behaviour", "requests", "words"),
    [
        ("unauthorized", 1, "HTTP 401.*check OPENAI_API_KEY"),
        ("no_model", 1, "HTTP 404.*'o1'.*does not exist.*check --model"),
        ("rate_limit", 3, "HTTP 429.*quota"),
        ("fail", 3, "HTTP 500.*try again later"),
        ("malformed", 1, "did not answer with JSON"),
        ("html", 1, "did not answer with JSON"),
        ("no_choices", 1, "without a choice"),
        ("error_object", 1, "Provider returned an error"),
        ("slow", 3, "did not answer within 0.2 s, 3 times.*--timeout"),
        ("drop", 3, "cannot reach"),
    ],
)
def test_faults_are_one_line_that_says_what_to_do(behaviour: Behaviour, requests: int, words: str) -> None:
    with OpenAIServer(ANSWER, behaviour) as server, pytest.raises(EndpointFault, match=words) as caught:
        ask(server, timeout_seconds=0.2 if behaviour == "slow" else 20.0)
    assert len(server.requests) == requests
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.exit_status == 3


@pytest.mark.parametrize("behaviour", ["rate_limit", "fail", "drop"])
def test_a_passing_fault_is_tried_again(behaviour: Behaviour) -> None:
    with OpenAIServer(ANSWER, behaviour, repeat=False) as server:
        assert ask(server).text == ANSWER
    assert len(server.requests) == 2


def test_a_refused_connection() -> None:
    with OpenAIServer() as server:
        url = server.url
    with pytest.raises(EndpointFault, match=r"cannot reach .*refused.*check the base URL"):
        complete(PROMPT, "o1", base_url=url, timeout_seconds=5)


def test_a_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(UsageError, match="set OPENAI_API_KEY"):
        complete(PROMPT, "o1", timeout_seconds=5)
    with pytest.raises(UsageError, match="set OPENAI_API_KEY"):
        complete(PROMPT, "o1", base_url="https://api.openai.com/v1/", timeout_seconds=5)
    with OpenAIServer(ANSWER) as server:
        assert ask(server).text == ANSWER


def test_the_environment_names_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(ANSWER) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        assert complete(PROMPT, "o1", timeout_seconds=20).text == ANSWER
    assert server.requests[0].path == "/v1/chat/completions"


def test_loopback_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with OpenAIServer(ANSWER) as server:
        assert ask(server).text == ANSWER


@pytest.mark.parametrize("url", ["foo", "ftp://x/v1", "http://", "http://x:99999/v1", "http://x /v1", "http://ü/v1"])
def test_what_is_no_base_url(url: str) -> None:
    with pytest.raises(UsageError, match="base URL"):
        complete(PROMPT, "o1", base_url=url, timeout_seconds=5)


def test_a_base_url_may_hold_no_secret() -> None:
    for url in ["http://user:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret"]:
        with pytest.raises(UsageError) as caught:
            complete(PROMPT, "o1", base_url=url, timeout_seconds=5)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-ключ", "sk\nx"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds characters"):
        complete(PROMPT, "o1", api_key=key, timeout_seconds=5)


def test_a_key_that_the_endpoint_repeats_is_not_kept() -> None:
    with OpenAIServer(f"Your key is {KEY}.") as server:
        completion = ask(server)
    assert KEY not in json.dumps(completion.response)
    assert completion.text == "Your key is [key]."


def test_content_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer() as server:
        server.text = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "x"}]  # type: ignore[assignment]
        assert ask(server).text == "ab"
        server.text = None  # type: ignore[assignment]
        assert ask(server).text == ""


def test_the_responses_api() -> None:
    with OpenAIServer(ANSWER) as server:
        completion = ask(server, api="responses", max_tokens=5, reasoning_effort="low", temperature=0.5)
    (request,) = server.requests
    assert request.path == "/v1/responses"
    assert request.body == {
        "model": "o1",
        "input": "Write a pruner.",
        "max_output_tokens": 5,
        "temperature": 0.5,
        "reasoning": {"effort": "low"},
    }
    assert (completion.text, completion.finish_reason, completion.refusal) == (ANSWER, "stop", None)
    assert text_of(completion.response) == ANSWER


@pytest.mark.parametrize("behaviour", ["malformed", "html", "no_choices", "error_object"])
def test_faults_of_responses(behaviour: Behaviour) -> None:
    with OpenAIServer(ANSWER, behaviour) as server, pytest.raises(EndpointFault) as caught:
        ask(server, api="responses")
    assert caught.value.passing


def test_options_that_a_model_does_not_take_are_learnt_from_its_errors() -> None:
    known: set[str] = set()
    with OpenAIServer(ANSWER) as server:
        server.rejects = {"temperature": "param", "max_completion_tokens": "words"}
        completion = ask(server, temperature=0.7, max_tokens=9, reasoning_effort="low", unsupported=known)
        assert known == {"temperature", "max_completion_tokens"}
        assert len(server.requests) == 3
        ask(server, temperature=0.7, max_tokens=9, unsupported=known)
        assert len(server.requests) == 4, "it is known by then"
    assert completion.request["body"] == {
        "model": "o1",
        "messages": [{"role": "user", "content": "Write a pruner."}],
        "max_tokens": 9,
        "reasoning_effort": "low",
    }


def test_a_limit_that_no_name_of_is_taken_is_not_forgotten() -> None:
    with OpenAIServer(ANSWER) as server:
        server.rejects = {"max_tokens": "param", "max_completion_tokens": "param"}
        with pytest.raises(EndpointFault, match="does not take max_tokens"):
            ask(server, max_tokens=9)


def test_a_value_that_is_out_of_range_is_the_users_to_mend() -> None:
    with OpenAIServer(ANSWER) as server:
        server.rejects = {"temperature": "range"}
        with pytest.raises(EndpointFault, match=r"HTTP 400.*between 0 and 2"):
            ask(server, temperature=9.0)
        assert len(server.requests) == 1


def test_every_exchange_is_recorded_before_it_is_read() -> None:
    seen: list[object] = []

    class Notes:
        def sent(self, request: dict[str, Any]) -> None:
            seen.append(request["body"]["model"])

        def received(self, exchange: Exchange) -> None:
            seen.append((exchange.status, exchange.content[:20]))

    with OpenAIServer(f"Your key is {KEY}.", "rate_limit", "malformed") as server, pytest.raises(EndpointFault):
        ask(server, recorder=Notes())
    assert [one if isinstance(one, str) else one[0] for one in seen] == ["o1", 429, "o1", 200]  # type: ignore[index]
    assert KEY not in repr(seen)


def test_well_known_endpoints_have_names_and_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoints.find("gemini").base_url.endswith("/v1beta/openai")
    assert endpoints.find("https://api.mistral.ai/v1/") is endpoints.PRESETS["mistral"]
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="set GEMINI_API_KEY"):
        endpoints.key(endpoints.find("gemini"))
    monkeypatch.setenv("GEMINI_API_KEY", " abc \n".strip())
    assert endpoints.key(endpoints.find("gemini")) == "abc"
    with pytest.raises(UsageError, match="Did you mean 'gemini'"):
        endpoints.find("gemni")


def test_a_key_of_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = pytest.importorskip("keyring")

    class Ring(keyring.backend.KeyringBackend):  # type: ignore[misc, name-defined]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return "ring" if (service, username) == ("harness", "GEMINI_API_KEY") else None

    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        assert endpoints.key(endpoints.find("gemini")) == "ring"
    finally:
        keyring.set_keyring(before)
