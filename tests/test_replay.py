"""`harness replay` and `harness report` of a pack, by a stranger who has nothing else; and what a replay says."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness import pack, packing
from harness.archive import archive
from harness.bench import Bench
from harness.cli import cli, main
from harness.packed import others_here
from harness.recorded import recorded
from harness.records import Completion, Pruner, Score, Sparsity
from harness.replay import facts
from harness.report.results import read
from harness.resources import cache_folder
from harness.stages.idea import ideas
from harness.stages.prompt import render
from harness.status import Status
from harness.store import Cell, Store
from harness.study import parse
from harness.study_run import run
from harness.testing.fake_bench import FakeBench, FakeLab
from harness.testing.fake_study import TEXT, fake_study
from tests.conftest import open_trusted

CODE = "def prune(task):\n    pass\n"
OWN = """
def prune(task):
    for layer in task.layers():
        weight = layer.weight.abs()
        layer.keep(weight > weight.median(dim=1, keepdim=True).values)
"""


@dataclass
class Lab(FakeLab):
    """Remembers the code that it was given by pruner."""

    sources: dict[str, bytes | None] = field(default_factory=dict)

    def open_bench(self, target: str, **options: Any) -> FakeBench:
        bench = super().open_bench(target, **options)
        score = bench.score

        def remembered(pruner: Pruner, sparsity: Sparsity, **asked: Any) -> Score:
            self.sources[pruner.name] = pruner.source
            return score(pruner, sparsity, **asked)

        bench.score = remembered  # type: ignore[method-assign]
        return bench


def invoke(*arguments: str, columns: int = 200) -> Result:
    return CliRunner().invoke(cli, arguments, env={"COLUMNS": str(columns)})


def answered(idea: int, source: str | None, **more: Any) -> str:
    """An archived attempt in this folder; its id."""
    response = {"choices": [{"message": {"content": f"the answer {source}"}}]}
    completion = Completion("o1", source or "", "stop", None, {}, response, 1.0, "2026-01-01T00:00:00+00:00")
    return archive(render(ideas()[idea]), completion, Path("generated"), source=source, **more).name


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The author's folder, with pruners that nobody else has: by what they are, their names."""
    (tmp_path / "author").mkdir()
    monkeypatch.chdir(tmp_path / "author")
    Path("mine.py").write_text(OWN)
    Path("odd.py").write_bytes(b"\xff\xfe no text")
    cut = answered(1, None, status=Status.TRUNCATED, message="it was cut")
    return {"candidate": answered(0, CODE + "# own\n"), "without code": cut, "file": "mine.py", "no text": "odd.py"}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    found = Lab()
    pipeline = ModuleType("harness.pipeline")
    pipeline.open_bench = found.open_bench  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harness.pipeline", pipeline)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "")
    return found


@pytest.fixture
def stranger(tmp_path: Path, names: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pack of a study, in a folder with nothing else: the author's is gone."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    listed = ", ".join(f'"{name}"' for name in names.values())
    path = fake_study(Path("results/tiny"), TEXT.replace('"magnitude"', f'"magnitude", {listed}'))
    (tmp_path / "stranger").mkdir()
    packing.write(path, tmp_path / "stranger" / "tiny.zip")
    monkeypatch.chdir(tmp_path / "stranger")
    shutil.rmtree(tmp_path / "author")
    return Path("tiny.zip")


def forge(path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A whole pack with other members, as somebody may make who likes to."""
    members = dict(pack.verify(path).members)
    manifest = json.loads(members["manifest.json"])
    change(members)
    members["manifest.json"] = json.dumps(manifest | {"members": pack.digests(members)}).encode()
    Path("forged.zip").write_bytes(pack.build(members))
    return Path("forged.zip")


def sql(content: bytes, *statements: str) -> bytes:
    """A results file after these statements."""
    file = Path("change.sqlite")
    file.write_bytes(content)
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return file.read_bytes()


def changed(*statements: str) -> Callable[[dict[str, bytes]], object]:
    return lambda members: members.update({pack.RESULTS: sql(members[pack.RESULTS], *statements)})


@pytest.mark.usefixtures("lab")
def test_a_stranger_replays_a_pack(stranger: Path, lab: Lab, names: dict[str, str]) -> None:
    found = pack.verify(stranger)
    result = invoke("replay", "tiny.zip")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "56 of 56 recorded cells ran again with the same result.\n"
        "Compared: status, perplexity in every digit, and 32 masks in every bit.\n"
    )
    assert lab.sources[names["candidate"]] == (CODE + "# own\n").encode()
    assert lab.sources["mine.py"] == OWN.encode()
    assert lab.sources["magnitude"] == found.members["reference_pruners/magnitude.py"]
    assert lab.sources[names["without code"]] is lab.sources["odd.py"] is None
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.zip"]


def test_code_that_lies_around_is_neither_run_nor_shown(stranger: Path, lab: Lab, names: dict[str, str]) -> None:
    Path("mine.py").write_text("# TIMEOUT\n")
    Path("odd.py").write_text(CODE)
    assert answered(0, "# CRASHED\n") == names["candidate"]
    result = invoke("replay", "tiny.zip")
    assert result.exit_code == 0, result.output
    for name in ("mine.py", "odd.py", names["candidate"]):
        assert f"{name}: the code of that name here is another; what ran is the pack's" in result.stdout
    assert result.stdout.count("the pack's") == 3
    assert lab.sources["mine.py"] == OWN.encode()
    assert lab.sources[names["candidate"]] == (CODE + "# own\n").encode()
    result = invoke("report", "tiny.zip", "--out", "report")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("what is shown is the pack's") == 3
    text = "".join(path.read_text() for path in Path("report/html").rglob("*.html"))
    for piece in ("# own", "median", "the answer def prune", ideas()[0].title):
        assert piece in text, piece
    assert "# TIMEOUT" not in text
    assert "# CRASHED" not in text


def test_a_real_study_gives_the_same_masks_from_its_pack(
    llama: Path, tokens: str, names: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench, "check_canaries", lambda _, **__: None)
    monkeypatch.setattr("harness.pipeline.open_bench", open_trusted)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "")  # which a replay sets, and which is put back afterwards
    text = f"""
name = "real"
targets = ["{llama}"]
sparsities = [0.5]
pruners = ["magnitude", "mine.py", "{names["without code"]}"]
calibration = "{tokens}"
eval = "{tokens}"
repeat = false
"""
    with Store(Path("results/real/results.sqlite")) as store:
        run(parse(text, "real.toml"), store)
        scores = {score.pruner: score for score in store.scores()}
    assert [score.status for score in scores.values()] == ["OK", "OK", "TRUNCATED"]
    packing.write(Path("results/real/results.sqlite"), tmp_path / "real.zip")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("author")
    result = invoke("replay", "real.zip", "--json", "cells.json")
    assert result.exit_code == 0, result.output
    cells = json.loads(Path("cells.json").read_text())
    assert [cell["pruner"] for cell in cells] == list(scores)
    for cell in cells:
        assert (cell["differs"], cell["environment"]) == ([], {})
        assert cell["recorded"] == cell["replayed"]
        assert cell["recorded"]["perplexity"] == scores[cell["pruner"]].perplexity
    assert len({cell["recorded"]["zeros_sha256"] for cell in cells}) == 3


@pytest.mark.usefixtures("lab")
def test_a_mask_in_which_one_bit_differs_is_shown_and_so_is_what_differs_of_the_machine(stranger: Path) -> None:
    other = {"harness": "0.0.9", "libraries": {"torch": "2.12.0", "numpy": "2.1"}, "capability": "\x1b[31mAVX2\n"}
    forge(
        stranger,
        changed(
            f"UPDATE zeros SET sha256 = '{'0' * 64}' WHERE pruner = 'magnitude' AND sparsity = '0.5'",
            f"UPDATE environment SET record = json('{json.dumps(other)}')",
        ),
    )
    result = invoke("replay", "forged.zip", "--json", "cells.json")
    assert result.exit_code == 1, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    (shown,) = [line for line in lines if line[:3] == ["testbed-llama", "0.5", "magnitude"]]
    assert shown[-3:-1] == ["0" * 12, "->"]
    assert ["libraries.torch", "2.12.0", "unknown"] in lines
    assert ["harness", "0.0.9", "of", "the", "fake", "bench"] in lines
    assert "\x1b" not in result.output
    assert lines.index(["libraries.torch", "2.12.0", "unknown"]) < lines.index(["libraries.numpy", "2.1", "unknown"])
    assert "54 of 56 recorded cells ran again with the same result." in result.stdout
    cells = {(c["target"], c["sparsity"], c["pruner"]): c for c in json.loads(Path("cells.json").read_text())}
    cell = cells["testbed-opt", "0.5", "magnitude"]
    assert cell["differs"] == ["mask"]
    assert cell["recorded"]["zeros_sha256"] == "0" * 64 != cell["replayed"]["zeros_sha256"]
    assert cell["environment"]["libraries.torch"] == ["2.12.0", None]
    assert cells["testbed-opt", "0.25", "magnitude"]["differs"] == []


@pytest.mark.usefixtures("lab")
def test_what_was_not_recorded_is_not_compared(stranger: Path) -> None:
    statements = ["DELETE FROM zeros", "DELETE FROM origin", "DELETE FROM environment"]
    forge(stranger, changed(*statements))
    result = invoke("replay", "forged.zip")
    assert result.exit_code == 0, result.output
    assert "and 0 masks in every bit" in result.stdout
    first = "UPDATE score SET record = json_set(record, '$.perplexity', 31.5) WHERE pruner = 'mine.py'"
    forge(stranger, changed(*statements, first))
    result = invoke("replay", "forged.zip", "--pruner", "mine.py")
    assert result.exit_code == 1
    assert "of 8 cells that differ is not recorded what they were measured with" in result.stdout


@pytest.mark.usefixtures("lab")
def test_the_same_results_with_another_environment_are_said_to_be_so(stranger: Path) -> None:
    forge(stranger, changed('UPDATE environment SET record = \'{"libraries": {"torch": "2.12.0"}}\''))
    result = invoke("replay", "forged.zip")
    assert result.exit_code == 0
    assert "Recorded with another libraries.torch, harness; the results are the same nonetheless." in result.stdout


def test_a_part_of_a_study_is_replayed(stranger: Path, lab: Lab, names: dict[str, str]) -> None:
    arguments = ("--pruner", "mine.py", "--pruner", names["candidate"], "--sparsity", "0.50", "--sparsity", "2:4")
    result = invoke("replay", "tiny.zip", "--target", "testbed-opt", *arguments)
    assert result.exit_code == 0, result.output
    assert lab.scored == [
        ("testbed-opt", sparsity, name) for sparsity in ("0.5", "2:4") for name in (names["candidate"], "mine.py")
    ]
    assert "4 of 4 recorded cells" in result.stdout


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pruner", "magnitud"], "--pruner 'magnitud': nothing is recorded of it. Did you mean 'magnitude'"),
        (["--target", "gpt2"], "--target 'gpt2': nothing is recorded of it"),
        (["--sparsity", "0.75"], "--sparsity '0.75': nothing is recorded of it"),
        (["--sparsity", "much"], "sparsity 'much'"),
        (["--json", "no/where.json"], "--json no/where.json"),
    ],
)
def test_wrong_usage_is_one_line(
    stranger: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["replay", str(stranger), *arguments])
    error = capsys.readouterr().err
    assert (caught.value.code, error.count("\n")) == (2, 1)
    assert words in error


@pytest.mark.usefixtures("lab")
def test_a_pack_without_the_code_or_with_other_code_is_refused(
    stranger: Path, names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def without(members: dict[str, bytes]) -> None:
        del members[next(name for name in members if name.startswith("pruners/mine"))]

    def other(members: dict[str, bytes]) -> None:
        members[f"generated/{names['candidate']}/pruner.py"] = b"other"

    large = "UPDATE cell SET source_sha256 = '{}' WHERE pruner = 'mine.py'"
    for change, words in (
        (without, "does not hold the code of 'mine.py'"),
        (other, "the pack's generated/"),
        (changed(large.format("0" * 64)), "does not hold the code of 'mine.py'"),
    ):
        forge(stranger, change)
        with pytest.raises(SystemExit) as caught:
            main(["-q", "replay", "forged.zip"])
        error = capsys.readouterr().err
        assert (caught.value.code, error.count("\n")) == (3, 1)
        assert words in error
        source = recorded("forged.zip")
        attempts = read(source.path, None, source.pack).attempts  # a report shows what there is
        assert "magnitude" in attempts
        assert not {"mine.py", names["candidate"]} <= set(attempts)


@pytest.mark.usefixtures("lab")
def test_a_path_in_a_pack_leads_to_no_file_of_this_machine(stranger: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text(CODE + "# secret\n")
    tables = ("zeros", "origin", "score", "cell")
    statements = [f"UPDATE {table} SET pruner = '{secret}' WHERE pruner = 'mine.py'" for table in tables]
    forge(stranger, changed("PRAGMA foreign_keys = OFF", *statements))
    source = recorded("forged.zip")
    results = read(source.path, None, source.pack)
    assert results.attempts[str(secret)].code == OWN
    assert others_here(Cell(*cell, results.digests[cell[2]]) for cell in results.cells) == []


@pytest.mark.parametrize("record", ["[" * 50_000, "[]", "7", '{"libraries": 1e999}'])
@pytest.mark.usefixtures("lab")
def test_any_environment_is_one_line_or_is_read(
    stranger: Path, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(stranger, changed(f"UPDATE environment SET record = '{record}'"))
    with pytest.raises(SystemExit) as caught:
        main(["-q", "replay", "forged.zip"])
    assert caught.value.code in (0, 3)
    assert capsys.readouterr().err.count("\n") == (caught.value.code == 3)


def test_facts_are_flat_bounded_and_begin_with_what_digits_depend_on() -> None:
    found = facts({"cores": 4, "libraries": {"torch": "2", "numpy": "1"}, "dirty": False, "image": None, "odd": [1]})
    assert found == {
        "libraries.torch": "2",
        "image": None,
        "dirty": "false",
        "cores": "4",
        "libraries.numpy": "1",
        "odd": "?",
    }
    assert list(found)[:3] == ["libraries.torch", "image", "dirty"]
    assert len(facts({str(number): number for number in range(10_000)})) == 200


def test_no_model_is_asked_for_anything(stranger: Path) -> None:
    program = """
import sys, types
from harness.testing.fake_bench import FakeLab
sys.modules["harness.pipeline"] = types.SimpleNamespace(open_bench=FakeLab().open_bench)
from harness.cli import cli
cli.main(["-q", "replay", "tiny.zip"], standalone_mode=False)
"""
    asking = ("openai", "harness.local_server")
    watched = f"{program}\n".replace("cli.main", "import atexit\natexit.register(lambda: print([name for name in"
                                     f" {asking} if name in sys.modules]))\ncli.main")  # fmt: skip
    environment = {**os.environ, "OPENAI_BASE_URL": "http://127.0.0.1:9", "HARNESS_CACHE": str(cache_folder())}
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", watched],
        capture_output=True, text=True, check=False, env=environment | {"PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "56 of 56 recorded cells" in done.stdout
    assert done.stdout.endswith("[]\n")


@pytest.mark.usefixtures("lab")
def test_a_study_that_is_no_pack_is_replayed_with_the_pruners_of_the_folder(names: dict[str, str]) -> None:
    listed = f'"mine.py", "{names["candidate"]}"'
    fake_study(Path("results/tiny"), TEXT.replace('"magnitude"', listed))
    answered(2, CODE)  # a candidate that came after the study
    assert invoke("replay", "tiny").exit_code == 0
    Path("mine.py").write_text("# TIMEOUT\n")
    result = invoke("replay", "tiny", "--pruner", "mine.py", "--sparsity", "0.5,0.25")
    assert result.exit_code == 1
    assert "mine.py: its code has changed since the study ran" in result.stdout
    assert "0 of 4 recorded cells" in result.stdout
