"""`harness generate`: one pass of prompt, completion and candidate, archived."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from harness.cli._options import json_option

if TYPE_CHECKING:
    from harness.records import Idea, Pruner


def _ideas(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from harness.stages.idea import ideas

    return [CompletionItem(i.slug, help=i.title) for i in ideas() if i.slug.startswith(incomplete.lower())]


@click.command()
@click.option("--model", required=True, help="Model name, such as o1; local:smollm2-135m needs no key.")
@click.option("--idea", "names", multiple=True, shell_complete=_ideas, help="Title, slug or number; may be repeated.")
@click.option("--all-ideas", is_flag=True, help="All ideas of `harness ideas`.")
@click.option("--describe", metavar="TEXT", help="Describes an --idea of your own.")
@click.option("--samples", type=click.IntRange(1, 1000), default=1, show_default=True, help="Attempts for each idea.")
@click.option("--base-url", metavar="URL|NAME",
              help="OpenAI-compatible endpoint, or a well-known one by name: gemini, anthropic, deepseek, mistral,"
                   " together, openrouter, ollama, vllm [OPENAI_BASE_URL, or OpenAI's].")  # fmt: skip
@click.option("--api", type=click.Choice(["chat", "responses"]), default="chat", show_default=True,
              help="Chat Completions, or OpenAI's Responses.")  # fmt: skip
@click.option("--template", default="one-pass", show_default=True, help="Name of a prompt template.")
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens of an answer, reasoning included [unlimited].")
@click.option("--temperature", type=click.FloatRange(0), help="Sent only when given; o1 accepts none.")
@click.option("--reasoning-effort", metavar="EFFORT", help="Sent only when given: low, medium, high.")
@click.option("--timeout", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds for one answer.")
@click.option(
    "--generated",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("generated"),
    show_default=True,
    help="The archive.",
)
@json_option
def command(
    model: str, names: tuple[str, ...], all_ideas: bool, describe: str | None, samples: int, base_url: str | None,
    api: Literal["chat", "responses"], template: str, max_tokens: int | None, temperature: float | None,
    reasoning_effort: str | None, timeout: float, generated: Path, json_file: str | None,
) -> None:  # fmt: skip
    """Ask a model for pruners, once for each idea and sample, and archive what it answers.

    The key comes from OPENAI_API_KEY, or the variable of a well-known endpoint (GEMINI_API_KEY, …), or the system's
    keyring. Nothing that the model wrote is run: see `harness run`.
    """
    from harness import archive
    from harness.cli._output import check_writable, write_json
    from harness.console import notice, plain, progress
    from harness.generation import Generator, generate, reachable
    from harness.stages.prompt import render

    ideas = _chosen(names, all_ideas, describe)
    render(ideas[0], template)  # an unknown template should cost no request
    check_writable(json_file)
    archive.check_writable(generated)
    generator = Generator(
        model, base_url, timeout_seconds=timeout, max_tokens=max_tokens, temperature=temperature,
        reasoning_effort=reasoning_effort, api=api,
    )  # fmt: skip
    manifests: list[dict[str, Any]] = []
    pruner = None
    try:
        with reachable(generator) as asked, progress(f"asking {plain(model, 60)}", len(ideas) * samples) as bar:
            for idea in ideas:
                for _ in range(samples):
                    pruner = generate(asked, idea, generated, template)
                    folder = generated / pruner.name
                    manifests.append(json.loads((folder / "manifest.json").read_bytes()) | {"path": str(folder)})
                    click.echo(_line(folder, pruner), err=json_file == "-")
                    bar.advance()
    finally:
        write_json(json_file, manifests)
    if pruner is not None and pruner.path is not None and json_file != "-":
        name = pruner.name if generated == Path("generated") else pruner.path
        notice(f"next: harness run {name} --target testbed-llama --sparsity 0.5,2:4")


def _chosen(names: tuple[str, ...], all_ideas: bool, describe: str | None) -> list[Idea]:
    """The ideas that were asked for, each once."""
    from harness.errors import UsageError
    from harness.stages.idea import find_idea, ideas, own_idea

    if describe is not None:
        if len(names) != 1 or all_ideas:
            raise UsageError("--describe belongs to one idea of your own: give exactly one --idea")
        return [own_idea(names[0], describe)]
    chosen = [*(find_idea(name) for name in names), *(ideas() if all_ideas else [])]
    if not chosen:
        raise UsageError("no idea: give --idea, for example --idea 'L1 norm pruning', or --all-ideas")
    return list({idea.slug: idea for idea in chosen}.values())


def _line(folder: Path, pruner: Pruner) -> str:
    """Where an attempt was archived and what it is; code is not OK before it was run."""
    from harness.console import plain

    if pruner.source is not None:
        lines = pruner.source.count(b"\n")
        return f"{folder}  code, {lines} line{'s' * (lines != 1)}, not yet run"
    return f"{folder}  {pruner.status}: {plain(pruner.message or '', 200)}".replace("\n", " ")
