"""Idea: what the generator is asked to turn into a pruner. The ten of the paper's Table 4 are data files."""

import tomllib

from harness.errors import UsageError
from harness.names import key, slug, suggestion
from harness.records import Idea
from harness.resources import resource


def ideas() -> list[Idea]:
    """The ideas of `prompts/ideas`, in the order of their numbers."""
    found = []
    for file in resource("prompts").joinpath("ideas").glob("*.toml"):
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        found.append(Idea(data["slug"], data["title"], " ".join(data["description"].split()), data["number"]))
    return sorted(found, key=lambda idea: idea.number or 0)


def find_idea(text: str) -> Idea:
    """The idea with this title, slug or number; case and punctuation do not matter.

    Raises:
        UsageError: there is none; the message names near ones.
    """
    if (idea := _known(text)) is not None:
        return idea
    near = suggestion(text, [idea.title for idea in ideas()])
    raise UsageError(
        f"no idea {text[:80]!r}.{near} `harness ideas` lists them; an idea of your own needs --describe TEXT"
    )


def own_idea(title: str, description: str) -> Idea:
    """An idea that is not in `prompts/ideas`.

    Raises:
        UsageError: the title is empty or belongs to an idea of `prompts/ideas`, or the description is empty.
    """
    if not title.strip() or not description.strip():
        raise UsageError("an idea of your own needs a name and a description: --idea NAME --describe TEXT")
    if any("\ud800" <= c <= "\udfff" for c in title + description):
        raise UsageError("the idea's name or description is not valid UTF-8")
    if _known(title) is not None:
        raise UsageError(f"{title[:80]!r} already has a description: leave out --describe, or choose another name")
    return Idea(slug(title), title.strip(), description.strip())


def _known(text: str) -> Idea | None:
    wanted = key(text)
    for idea in ideas():
        if wanted in {key(idea.title), key(idea.slug)} or wanted.lstrip("0") == str(idea.number):
            return idea
    return None
