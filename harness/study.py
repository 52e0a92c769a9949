"""A study, as the file that describes it says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from harness import repairs, sizes
from harness.console import plain
from harness.errors import InputFault, UsageError
from harness.names import slug, suggestion
from harness.records import Sparsity
from harness.resources import resource

_CELL_KEYS = {"name", "targets", "sparsities", "pruners", "sandbox", "rank_isolation"}
_ASKING_KEYS = {"generators", "ideas", "prompts", "samples", "max_cost", "repaired"}
"""What decides the attempts, which are kept apart from how pruners are run: see `harness.ledger`."""
_ATTEMPT = re.compile(r"[\w.-]+/[\w.-]+/\d{2,}", re.ASCII)
_LINE = 1000
"""Characters of a message; a key of a stranger's file may be longer."""
_COUNT = 10**9


class StudyGenerator(BaseModel):
    """A table `[[generators]]`: a model that is asked for pruners. What is left out is not sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    model: str = Field(min_length=1, max_length=200)
    """Its name, as the endpoint knows it; `local:smollm2-135m` is served on this machine."""
    name: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9.-]{0,59}$")
    """First part of its candidates' ids, after the study's name [made from the model's]."""
    endpoint: str | None = None
    """A base URL, or a well-known endpoint's name: `openai`, `gemini`, `anthropic`, `deepseek`, `mistral`, `together`,
    `openrouter`, `ollama`, `vllm` [`OPENAI_BASE_URL`, or OpenAI's]."""
    api: Literal["chat", "responses"] = "chat"
    """Chat Completions, or OpenAI's Responses."""
    max_tokens: int | None = Field(None, ge=1, le=_COUNT)
    """Of an answer, reasoning included."""
    temperature: float | None = Field(None, ge=0, le=10)
    """Left out, and asked again without, where the model says that it takes none."""
    reasoning_effort: str | None = Field(None, max_length=40)
    """Likewise: `low`, `medium`, `high`."""
    timeout: float = Field(600.0, ge=1, le=86_400)
    """The longest silence of the endpoint, in seconds."""
    concurrency: int = Field(4, ge=1, le=256)
    """Requests at a time, at most; fewer while the endpoint asks for it."""
    input_price: float | None = Field(None, ge=0)
    """US dollars for a million tokens of the prompt [the bundled table's, which has its date]."""
    output_price: float | None = Field(None, ge=0)
    """Likewise of the answer, reasoning included."""
    batch: bool = False
    """Whether all is asked at once through the endpoint's batch API, and answered within a day; `concurrency` is then
    of no account."""
    batch_discount: float | None = Field(None, ge=0, le=1)
    """The fraction by which an answer out of a batch costs less, such as `0.5`: none is assumed."""

    @model_validator(mode="after")
    def _batch_elsewhere(self) -> StudyGenerator:
        if self.batch and self.model.startswith("local:"):
            raise PydanticCustomError("batch", "a model on this machine has no batch API", {"key": "batch"})
        return self

    @property
    def label(self) -> str:
        """Its name, or one made from the model's."""
        return self.name or slug(self.model.removeprefix("local:"))


class Study(BaseModel):
    """A study file. The example of each key is what an error message tells the user to write."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=['name = "my-study"'])
    """Of the folder of results, under `results/`."""
    targets: list[str] = Field(min_length=1, examples=['targets = ["testbed-llama"]'])
    """As `--target` of `harness run` takes them."""
    sparsities: list[str] = Field(min_length=1, examples=['sparsities = [0.5, "2:4"]'])
    """Ratios as numbers or texts; patterns and structures as texts."""
    pruners: list[str] = Field([], examples=['pruners = ["magnitude", "sample/*"]'])
    """As `harness run` takes them; `prefix*` stands for all archived candidates whose ids begin so, but for repairs."""
    generators: list[StudyGenerator] = Field([], max_length=100, examples=['[[generators]] with model = "o1"'])
    """Models that are asked for pruners, which are then run beside `pruners`."""
    ideas: list[str] = Field([], examples=['ideas = ["L1 norm pruning"]'])
    """What they are asked for: titles, slugs or numbers of ideas; `*` stands for all."""
    prompts: list[str] = Field(["one-pass"], min_length=1, examples=['prompts = ["one-pass"]'])
    """Names of prompt templates."""
    samples: int = Field(1, ge=1, le=10_000, examples=["samples = 5"])
    """How often each generator is asked for each idea with each template."""
    max_cost: float | None = Field(None, ge=0, examples=["max_cost = 20.0  # US dollars"])
    """No request is made once so much was spent."""
    repairs: str | None = Field(None, min_length=1, max_length=4096, examples=['repairs = "two-models"'])
    """The study, or its folder of results, whose failed attempts are asked for again: see `harness study repair`."""
    repaired: list[str] = Field([], examples=['repaired = ["two-models.o1/l1-norm-pruning/01"]'])
    """Those attempts."""
    calibration: str = Field("bundled", examples=['calibration = "bundled"'])
    calibration_samples: int | None = Field(None, ge=1, le=_COUNT, examples=["calibration_samples = 32"])
    eval: str = Field("bundled", examples=['eval = "bundled"'])
    eval_windows: int | None = Field(None, ge=1, le=_COUNT, examples=["eval_windows = 40"])
    seqlen: int | None = Field(None, ge=2, le=_COUNT, examples=["seqlen = 256"])
    statistics: Literal["sequential", "dense"] = Field("sequential", examples=['statistics = "sequential"'])
    dtype: Literal["float32", "bfloat16"] = Field("float32", examples=['dtype = "float32"'])
    device: Literal["cpu", "cuda"] = Field("cpu", examples=['device = "cuda"'])
    rounds: int = Field(1, ge=1, le=1000, examples=["rounds = 4"])
    sandbox: Literal["auto", "docker", "bubblewrap"] = Field("auto", examples=['sandbox = "auto"'])
    timeout: float | None = Field(None, ge=1, examples=["timeout = 900  # seconds"])
    memory: int | None = Field(
        None, ge=sizes.LEAST_MEMORY_BYTES, le=sizes.MOST_MEMORY_BYTES, examples=['memory = "4 GiB"']
    )
    seed: int = Field(0, ge=0, lt=1 << 63, examples=["seed = 0"])
    """Of the calibration windows, and of `task.generator`."""
    seeds: int = Field(1, ge=1, le=100, examples=["seeds = 5"])
    """How many seeds, from `seed` on, a pruner that draws random numbers is run and scored with."""
    repeat: bool = Field(True, examples=["repeat = false"])
    """Whether each pruner runs once more on each target, to see if the same weights come out."""
    kl: bool = Field(False, examples=["kl = true"])
    text: str | None = Field(None, examples=['text = "University is"'])
    text_tokens: int = Field(20, ge=1, le=1024, examples=["text_tokens = 20"])
    rank_isolation: Literal["docker", "any"] = Field("docker", examples=['rank_isolation = "docker"'])
    """Which rows are ranked: those of a container, or those of any sandbox."""
    _source: str = PrivateAttr("")

    @field_validator("sparsities", mode="before")
    @classmethod
    def _labels(cls, values: object) -> object:
        if not isinstance(values, list):
            return values
        return [_sparsity_label(value) for value in values]

    @field_validator("memory", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        return sizes.read_size(value) if isinstance(value, str) else value

    @field_validator("targets", "sparsities", "pruners", "ideas", "prompts", "repaired")
    @classmethod
    def _distinct(cls, values: list[str]) -> list[str]:
        seen: set[str] = set()
        for value in values:
            if value in seen:
                raise ValueError(f"{value!r} stands in it twice")
            seen.add(value)
        return values

    @model_validator(mode="after")
    def _something_to_run(self) -> Study:
        if not self.pruners and not self.generators:
            raise PydanticCustomError("nothing", "there is nothing to run", {"key": "pruners"})
        if bool(self.repairs) != bool(self.repaired):
            key = "repaired" if self.repairs else "repairs"
            raise PydanticCustomError("nothing", "repairs and repaired need one another", {"key": key})
        if self.repairs:
            self._check_repairs()
        elif bool(self.generators) != bool(self.ideas):
            key = "ideas" if self.generators else "generators"
            raise PydanticCustomError("nothing", "generators and ideas need one another", {"key": key})
        labels = [generator.label for generator in self.generators]
        for key, names in {"generators": labels, "prompts": self.prompts}.items():
            if taken := next((name for name in names if repairs.is_repair(f"{self.name}.{name}/")), None):
                message = "{taken} is what a round of repairs is called"
                raise PydanticCustomError("taken", message, {"key": key, "taken": repr(taken)})
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise PydanticCustomError(
                "twice", "two generators are called {label}", {"key": "generators", "label": twice}
            )
        return self

    def _check_repairs(self) -> None:
        """A round of repairs asks for nothing else, and its attempts are those of its own generators."""
        if self.pruners or self.ideas:
            key = "pruners" if self.pruners else "ideas"
            raise PydanticCustomError("more", "a round of repairs has none", {"key": key})
        one_pass, number = repairs.round_of(self.name)
        if not number:
            example = repairs.round_name(self.name[:40], 1)
            raise PydanticCustomError(
                "name", "a round of repairs is called as {example}", {"key": "name", "example": example}
            )
        for attempt in self.repaired:
            if not _ATTEMPT.fullmatch(attempt) or self.repairer(attempt) is None:
                raise PydanticCustomError(
                    "attempt",
                    "{attempt} is no attempt of a generator of {study}",
                    {"key": "repaired", "attempt": repr(attempt[:120]), "study": one_pass},
                )

    def repairer(self, attempt: str) -> StudyGenerator | None:
        """Whose attempt it was: the generator with the longest name that fits, since names may hold dots."""
        folder = attempt.partition("/")[0]
        one_pass, _ = repairs.round_of(self.name)
        fitting = [one for one in self.generators if f"{folder}.".startswith(f"{one_pass}.{one.label}.")]
        return max(fitting, key=lambda one: len(one.label), default=None)

    @property
    def source(self) -> str:
        """The file, as read."""
        return self._source

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The settings of a file that names none."""
        return {key: field.default for key, field in cls.model_fields.items() if key not in _CELL_KEYS | _ASKING_KEYS}

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes a result, besides the cells."""
        return self.model_dump(mode="json", exclude=_CELL_KEYS | _ASKING_KEYS)


def parse(text: str, source: str) -> Study:
    """Read a study file's text; `source` names it in messages.

    Raises:
        UsageError: it is not TOML, or a key is wrong; one line that names the key and what to write.
    """
    try:
        text.encode()  # TOML is UTF-8: no lone surrogates
        study = Study.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not valid TOML: {plain(str(error), _LINE)}") from None
    except ValidationError as error:
        raise UsageError(f"{source}: {plain(_first_error(error), _LINE)}") from None
    except UnicodeEncodeError:
        raise UsageError(f"{source}: not valid TOML: it holds characters that UTF-8 cannot") from None
    except RecursionError:
        raise UsageError(f"{source}: not valid TOML: it is nested too deeply") from None
    except ValueError:  # what tomllib lets through
        raise UsageError(f"{source}: not valid TOML: it has a number of thousands of digits") from None
    study._source = text
    return study


def load(name: str) -> Study:
    """Read a study by the path of its file, or by name where it is a bundled one.

    Raises:
        UsageError: there is no such study, or its file is wrong.
        InputFault: the file cannot be read.
    """
    path = Path(name)
    if not path.is_file() and re.fullmatch(r"[\w.-]+", name) and resource(f"studies/{name}.toml").is_file():
        path = resource(f"studies/{name}.toml")
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        bundled = ", ".join(sorted(file.stem for file in resource("studies").glob("*.toml")))
        raise UsageError(f"no study {name!r}: give the path of a study file, or a bundled study: {bundled}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputFault(f"{path}: cannot be read as a study file ({error})") from error


def _sparsity_label(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return Sparsity.parse(str(value)).label
    except UsageError as error:
        raise ValueError(str(error)) from None


def _first_error(error: ValidationError) -> str:
    """The first error of a study file, as one line that names the key and what to write."""
    first, *others = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    key = str(first["loc"][0] if first["loc"] else first["ctx"]["key"])
    more = f" (and {len(others)} more)" if others else ""
    if key == "generators" and len(first["loc"]) > 2:
        return _error_of_generator(first, more)
    if first["type"] == "extra_forbidden":
        hint = suggestion(key, list(Study.model_fields)) or f" The keys are {', '.join(Study.model_fields)}."
        return f"unknown key {key!r}.{hint}{more}"
    example = (Study.model_fields[key].examples or [key])[0]
    if first["type"] == "missing":
        return f"the key {key!r} is missing; write {example}{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"the key {key!r} is wrong: {message[:1].lower()}{message[1:]}; write {example}{more}"


def _error_of_generator(first: ErrorDetails, more: str) -> str:
    """The same of a key in a table `[[generators]]`."""
    number, key = int(first["loc"][1]) + 1, str(first["loc"][2])
    where = f"the key {key!r} of generator {number}"
    if first["type"] == "extra_forbidden":
        hint = suggestion(key, list(StudyGenerator.model_fields))
        return f"{where} is unknown.{hint or f' The keys are {chr(44).join(StudyGenerator.model_fields)}.'}{more}"
    if first["type"] == "missing":
        return f'{where} is missing; write model = "o1"{more}'
    message = first["msg"].removeprefix("Value error, ")
    return f"{where} is wrong: {message[:1].lower()}{message[1:]}{more}"
