"""One pass: idea -> prompt -> completion -> candidate, archived. The stages know nothing of one another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness import archive
from harness.errors import UsageError
from harness.journal import Journal
from harness.records import Completion, Idea, Prompt, Pruner, Recorder


@dataclass(frozen=True, slots=True)
class Generator:
    """The model that writes pruners, and how it is asked. What is None is not sent."""

    model: str
    base_url: str | None = None
    api_key: str | None = None
    timeout_seconds: float = 600.0
    max_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    api: Literal["chat", "responses"] = "chat"

    def complete(
        self,
        question: Prompt,
        *,
        retries: int | None = None,
        recorder: Recorder | None = None,
        unsupported: set[str] | None = None,
    ) -> Completion:
        """Ask once, as `harness.stages.completion.complete` does, whose arguments the others are.

        Raises:
            UsageError: the key is missing, or the base URL is none.
            EndpointFault: the endpoint cannot be reached, failed, or did not answer as it should.
        """
        from harness.stages import completion  # noqa: PLC0415 - heavy, and not needed to list commands

        return completion.complete(
            question,
            self.model,
            base_url=self.base_url,
            api_key=self.api_key,
            api=self.api,
            timeout_seconds=self.timeout_seconds,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            reasoning_effort=self.reasoning_effort,
            retries=completion.RETRIES if retries is None else retries,
            recorder=recorder,
            unsupported=unsupported,
        )


@contextmanager
def reachable(generator: Generator) -> Iterator[Generator]:
    """`generator` as it can be asked while the block runs: a `local:` model gets a server of its own.

    Raises:
        UsageError: there is no such local model, or the extra `local` is not installed.
        EndpointFault: the local server did not start.
    """
    from harness.local_server import MAX_TOKENS, PREFIX, local_endpoint  # noqa: PLC0415 - only for `local:`

    if not generator.model.startswith(PREFIX):
        yield generator
        return
    if generator.base_url is not None:
        raise UsageError(f"{PREFIX} models bring their own endpoint: leave out --base-url")
    with local_endpoint(generator.model) as url:
        yield replace(generator, base_url=url, api_key="local", max_tokens=generator.max_tokens or MAX_TOKENS)


def generate(generator: Generator, idea: Idea, root: Path, template: str = "one-pass") -> Pruner:
    """Ask a reachable generator once for `idea`, and archive what came in `root`.

    Raises:
        UsageError: unknown template, missing key.
        EndpointFault: the endpoint failed; nothing is archived, and what it said is in the journal.
        StorageFault: the archive cannot be written.
    """
    from harness.stages import candidate, prompt  # noqa: PLC0415 - heavy, and not needed to list commands

    question = prompt.render(idea, template)
    answer = generator.complete(question, recorder=Journal(root))
    source, status, message = candidate.extract(answer)
    return archive.archive(question, answer, root, source=source, status=status, message=message)
