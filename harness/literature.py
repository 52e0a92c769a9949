"""Published perplexities, with their protocols and sources, out of a TOML file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import InputFault, UsageError
from harness.names import key, suggestion
from harness.records import Sparsity
from harness.resources import bundled

_T = TypeVar("_T")
DENSE = "dense"
"""The method of a figure of the unpruned model; its sparsity is 0."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as papers call it, the target that it is here, and what it takes to prune it and to measure."""

    name: str
    target: str
    disk_gib: float
    memory_gib: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a figure was measured; names as those of `harness.pipeline.open_bench`, None for the target's own."""

    evaluation: str
    calibration: str
    calibration_samples: int | None = None
    seqlen: int | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One published perplexity. It is judged by `tolerance`, relative, if `checked`."""

    model: Model
    protocol: Protocol
    method: str
    sparsity: Sparsity
    perplexity: float
    tolerance: float
    why: str
    source: str
    checked: bool = True


def load(path: Path | None = None) -> list[Figure]:
    """The figures of a file, in its order; None for those that come with the harness.

    Raises:
        UsageError: the file is not as it should be; one line that names the place.
        InputFault: it cannot be read.
    """
    path = path or bundled("literature.toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputFault(f"{path}: cannot be read as a file of figures ({error})") from error
    tables = {name: _table(content, name, path) for name in ("models", "protocols", "sources", "reasons")}
    entries = content.get("figures")
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{path}: it has no [[figures]]")
    return [_figure(entry, f"{path}: figure {number}", tables, path) for number, entry in enumerate(entries, 1)]


def select(figures: Sequence[Figure], models: Sequence[str] = (), methods: Sequence[str] = ()) -> list[Figure]:
    """The figures of these models and methods; of all where none is named.

    Raises:
        UsageError: a name fits no figure.
    """
    chosen = _named(figures, models, "model", lambda figure: figure.model.name)
    known = _named(figures, methods, "method", lambda figure: figure.method)
    chosen = [figure for figure in chosen if figure in known]
    if not chosen:
        raise UsageError("no figure is of these models and these methods; name fewer")
    return chosen


def _named(figures: Sequence[Figure], names: Sequence[str], what: str, of: Callable[[Figure], str]) -> list[Figure]:
    known = list(dict.fromkeys(map(of, figures)))
    for name in names:
        if key(name) not in map(key, known):
            listed = f" The {what}s are {', '.join(known)}."
            raise UsageError(f"no figure of the {what} {name[:80]!r}.{suggestion(name, known) or listed}")
    wanted = set(map(key, names))
    return [figure for figure in figures if not wanted or key(of(figure)) in wanted]


def _figure(entry: Any, where: str, tables: dict[str, dict[str, Any]], path: Path) -> Figure:
    values = dict(entry) if isinstance(entry, dict) else {}
    name = values.get("model")
    model = _looked_up(tables["models"], name, f"{where}: model")
    protocol = _looked_up(tables["protocols"], values.get("protocol"), f"{where}: protocol")
    for file in ("evaluation", "calibration"):
        protocol[file] = _resolved(str(protocol.get(file, "")), path)
    try:
        values["sparsity"] = Sparsity.parse(str(values.get("sparsity", "")))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    values["model"] = _made(Model, {"name": name, **model}, f"{path}: model {name}")
    values["protocol"] = _made(Protocol, protocol, f"{path}: protocol")
    for text, table in (("why", tables["reasons"]), ("source", tables["sources"])):
        if text in values:
            values[text] = table.get(str(values[text]), values[text])
    figure = _made(Figure, values, where)
    if not (figure.perplexity > 0 and figure.tolerance > 0):
        raise UsageError(f"{where}: perplexity and tolerance are above 0")
    if (figure.method == DENSE) != (figure.sparsity.ratio == 0):
        raise UsageError(f"{where}: the method is dense where the sparsity is 0, and only there")
    return figure


def _made(kind: Callable[..., _T], values: dict[str, Any], where: str) -> _T:
    """A dataclass from the keys of a table, each of the type that the class says."""
    wanted = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(wanted)):
        raise UsageError(f"{where}: unknown key {unknown[0]!r}.{suggestion(unknown[0], list(wanted))}")
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        fits = {"str": isinstance(value, str), "float": number, "bool": isinstance(value, bool)}
        fits["int | None"] = isinstance(value, int) and value > 0
        if not fits.get(wanted[name], True):
            raise UsageError(f"{where}: the key {name!r} must be a {wanted[name].partition(' ')[0]}, not {value!r}")
    try:
        return kind(**values)
    except TypeError:
        missing = [name for name in wanted if name not in values and name not in ("checked", "seqlen")]
        raise UsageError(f"{where}: the key {missing[0]!r} is missing") from None


def _looked_up(table: dict[str, Any], name: object, where: str) -> dict[str, Any]:
    found = table.get(name) if isinstance(name, str) else None
    if not isinstance(found, dict):
        raise UsageError(f"{where}: {name!r} is not described in the file")
    return dict(found)


def _table(content: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [{name}] must be a table")
    return table


def _resolved(text: str, path: Path) -> str:
    """A relative file of `tokens:` or `text:` is relative to the file of figures."""
    kind, colon, file = text.partition(":")
    return f"{kind}:{path.parent / file}" if colon and file else text
