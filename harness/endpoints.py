"""Endpoints: the names of well-known OpenAI-compatible ones, and where their keys are looked for.

A key comes from the environment or from the system's keyring (the optional package keyring), and is never written.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.errors import UsageError
from harness.names import suggestion

KEYRING_SERVICE = "harness"
"""`keyring set harness OPENAI_API_KEY` puts a key where it is found."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is asked."""

    base_url: str
    """Without a slash at its end, password or query: it is archived."""
    key_variable: str = "OPENAI_API_KEY"
    needs_key: bool = False
    """Whether it is useless to ask without one."""


PRESETS = {
    "openai": Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY", needs_key=True),
    "anthropic": Endpoint("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", needs_key=True),
    "deepseek": Endpoint("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", needs_key=True),
    "gemini": Endpoint("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", needs_key=True),
    "mistral": Endpoint("https://api.mistral.ai/v1", "MISTRAL_API_KEY", needs_key=True),
    "openrouter": Endpoint("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", needs_key=True),
    "together": Endpoint("https://api.together.xyz/v1", "TOGETHER_API_KEY", needs_key=True),
    "ollama": Endpoint("http://127.0.0.1:11434/v1"),
    "vllm": Endpoint("http://127.0.0.1:8000/v1"),
}


def find(text: str | None) -> Endpoint:
    """The endpoint with this preset's name or base URL; by default `OPENAI_BASE_URL`, then OpenAI's own.

    Raises:
        UsageError: it is neither, or a URL that may not be archived.
    """
    text = text or os.environ.get("OPENAI_BASE_URL") or "openai"
    if text in PRESETS:
        return PRESETS[text]
    url = _checked(text).rstrip("/")
    return next((preset for preset in PRESETS.values() if preset.base_url == url), Endpoint(url))


def key(endpoint: Endpoint) -> str:
    """The endpoint's key; `none` for one that may be asked without.

    Raises:
        UsageError: it is needed and nowhere, or cannot be a key.
    """
    found = os.environ.get(endpoint.key_variable, "").strip() or _of_keyring(endpoint.key_variable)
    if endpoint.needs_key and not found:
        raise UsageError(f"no key: set {endpoint.key_variable}, or give another endpoint with --base-url")
    return checked_key(found, endpoint.key_variable) or "none"


def checked_key(text: str, name: str) -> str:
    """`text`, as it may stand in a header.

    Raises:
        UsageError: it may not; the message has nothing of it.
    """
    if not text.isascii() or not text.isprintable():
        raise UsageError(f"{name} holds characters that no key has: set it again")
    return text


def _of_keyring(variable: str) -> str:
    if importlib.util.find_spec("keyring") is None:
        return ""
    import keyring  # noqa: PLC0415 - optional
    from keyring.errors import KeyringError  # noqa: PLC0415

    try:
        return (keyring.get_password(KEYRING_SERVICE, variable) or "").strip()
    except KeyringError:  # there is none on this machine, or it is locked
        return ""


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        near = suggestion(url[:80], list(PRESETS)) if "/" not in url else ""
        known = ", ".join(PRESETS)
        raise UsageError(
            f"the base URL is not one:{near} it should look like http://127.0.0.1:8000/v1, or be one of {known}"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("the base URL is archived: leave its password and query out, and set OPENAI_API_KEY")
    return url
