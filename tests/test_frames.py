"""Results as frames: every number, every column documented, nothing of a candidate as it came."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import harness
from harness import frames, packing, tables
from harness.cli import cli
from harness.columns import COLUMNS
from harness.csv_text import to_csv
from harness.errors import SandboxFault, StorageFault, UsageError
from harness.records import Measurement, Score
from harness.status import Status
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import FakeLab, fake_score
from harness.testing.fake_study import TEXT, fake_study

ROOT = Path(__file__).parent.parent
HOSTILE = "=cmd|x\x1b]0;owned\x07\u202e\ud800" + "y" * 5000


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a fault at one cell."""
    lab = FakeLab(errors={("magnitude", "0.5"): [SandboxFault("no engine answers")]})
    return fake_study(tmp_path_factory.mktemp("study"), lab=lab)


def test_every_score_and_window_is_a_row(study: Path) -> None:
    found = harness.load(study)
    with Store(study, create=False) as store:
        scores, dense = store.scores(), store.dense_losses("testbed-llama")
    assert found.name == "tiny"
    assert len(found.plan) == 2 * 4 * 3
    assert len(found.scores) == len(scores) == len(found.plan) - 1
    assert list(found.scores["pruner"]) == [score.pruner for score in scores]
    for row, score in zip(found.scores.to_dict("records"), scores, strict=True):
        assert row["perplexity"] == score.perplexity or (math.isnan(row["perplexity"]) and score.perplexity is None)
    means = found.windows.groupby("cell")["loss"].mean()
    measured = found.scores.set_index("cell")["perplexity"].dropna()
    assert list(means.index) == list(measured.index)
    assert [math.exp(mean) for mean in means] == pytest.approx(list(measured))
    first = found.windows[found.windows["cell"] == found.windows["cell"].min()]
    assert tuple(first["dense_loss"]) == dense
    assert list(first["window"]) == list(range(len(first)))


def test_kinds_ratios_plan_faults_and_protocols(study: Path) -> None:
    found = harness.load(study)
    kinds = found.scores.drop_duplicates("sparsity").set_index("sparsity")
    assert dict(kinds["kind"]) == {
        "0.25": "unstructured",
        "0.5": "unstructured",
        "2:4": "pattern",
        "rows:0.5": "rows",
    }
    assert dict(kinds["ratio"]) == {"0.25": 0.25, "0.5": 0.5, "2:4": 0.5, "rows:0.5": 0.5}
    (fault,) = found.faults.to_dict("records")
    assert (fault["pruner"], fault["status"], fault["attempts"]) == ("magnitude", "INFRA_SANDBOX", 1)
    unscored = found.plan[~found.plan["scored"]]
    assert list(unscored["cell"]) == [fault["cell"]]
    assert list(found.protocols["target"]) == ["testbed-llama", "testbed-opt"]
    assert set(found.protocols["protocol"]) == set(found.scores["protocol"])


def test_failures_have_a_cause(study: Path) -> None:
    scores = harness.load(study).scores
    failed = scores[scores["outcome"] == "Error"]
    assert set(failed["cause"]) == {"cut off"}
    assert set(failed["cause_rule"]) == {"prune(task)"}
    assert failed["cause_sentence"].eq("It went wrong").all()
    assert scores.loc[scores["outcome"] == "OK", ["cause", "cause_rule", "cause_sentence"]].isna().all(axis=None)


def test_what_was_not_measured_is_na_and_numbers_are_numbers(study: Path) -> None:
    scores = harness.load(study).scores
    failed = scores[scores["status"] == "TRUNCATED"]
    assert len(failed) == 8
    for column in ("perplexity", "perplexity_low", "achieved_sparsity", "kl_divergence", "source_sha256", "text"):
        assert failed[column].isna().all(), column
    assert scores.loc[scores["author"] == "human", ["model", "idea", "template"]].isna().all(axis=None)
    assert set(scores.loc[scores["author"] == "model", "idea"]) == {
        "l1-norm-pruning",
        "dynamic-pruning-with-reinforcement-learning",
    }
    assert set(scores.loc[scores["author"] == "model", "template"]) == {"one-pass"}


def test_the_documented_columns_are_those_of_the_frames(study: Path) -> None:
    documented: dict[str, dict[str, tuple[str, str]]] = {}
    for line in (ROOT / "docs/data.md").read_text().splitlines():
        if heading := re.fullmatch(r"### (\w+)", line):
            rows = documented.setdefault(heading[1], {})
        elif row := re.fullmatch(r"\| `(\w+)` \| (\w+) \| (.+) \|", line):
            rows[row[1]] = (row[2], row[3])
    expected = {
        name: {column: (str(one.dtype), one.what) for column, one in columns.items()}
        for name, columns in COLUMNS.items()
    }
    assert documented == expected
    for name, frame in harness.load(study).items():
        assert {column: str(dtype) for column, dtype in frame.dtypes.items()} == {
            column: dtype for column, (dtype, _) in documented[name].items()
        }


def test_no_field_of_a_record_is_forgotten() -> None:
    """A new field of a record is a column, or is named here with the column that has it."""
    elsewhere = {
        "error": "error_message",
        "window_losses": "loss",
        "id": "protocol",
        "zeros": "zeros_sha256",
        "seed_perplexities": "seed_low",
        "layers": "target",
    }
    for record, name in ((Score, "scores"), (Measurement, "protocols")):
        columns = COLUMNS[name].keys() | COLUMNS["windows"].keys()
        for field in fields(record):
            assert elsewhere.get(field.name, field.name) in columns, field.name


def write(path: Path, *scores: Score) -> Path:
    cells = [Cell(score.target, score.sparsity, score.pruner) for score in scores]
    with Store(path) as store:
        store.save_plan(Plan("study", TEXT, {}, "docker", tuple(cells)))
        for cell, score in zip(cells, scores, strict=True):
            store.add_score(cell, score)
    return path


def test_text_of_candidates_is_cleaned_and_bounded(tmp_path: Path) -> None:
    name = HOSTILE.replace("\ud800", "")  # SQLite takes no lone surrogate as a key
    hostile = fake_score(
        name,
        status=Status.RUNTIME_ERROR,
        message=HOSTILE,
        notes=(HOSTILE, "b\r\nc"),
        text=HOSTILE,
        model=name,
        idea=name,
        template=name,
    )
    found = frames.read(write(tmp_path / "results.sqlite", hostile))
    for _, frame in found.items():
        for column in frame.columns[frame.dtypes == "string"]:
            for value in frame[column].dropna():
                assert len(value) <= 2010
                assert not set(value) & set("\x1b\x07\u202e\r\ud800")
    assert len(found.scores["pruner"][0]) < 130
    assert to_csv(found.scores).splitlines()[1].split(",")[3].startswith("'=cmd")


@pytest.mark.parametrize(
    ("field", "value"),
    [("perplexity", "much"), ("seed", [1]), ("target", "another"), ("notes", [1]), ("sparsity", "x")],
)
def test_a_forged_record_is_one_line(tmp_path: Path, field: str, value: object) -> None:
    path = write(tmp_path / "results.sqlite", fake_score())
    with Store(path) as store:
        record = json.loads(store.connection.execute("SELECT record FROM score").fetchone()[0])
        store.connection.execute("UPDATE score SET record = ?", (json.dumps(record | {field: value}),))
    with pytest.raises((StorageFault, UsageError)) as caught:
        frames.read(path)
    assert "\n" not in str(caught.value)


def test_load_takes_whatever_names_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = fake_study(Path("results/tiny"))
    Path("tiny.toml").write_text(TEXT)
    packing.write(file, Path("tiny.zip"))
    expected = harness.load(file)
    for name in ("tiny", "tiny.toml", "results/tiny", "tiny.zip", Path("tiny.zip")):
        for (_, one), (_, other) in zip(harness.load(name).items(), expected.items(), strict=True):
            pd.testing.assert_frame_equal(one, other)
    with pytest.raises(UsageError, match="no results"):
        harness.load("none")
    Store(Path("empty.sqlite")).close()
    with pytest.raises(StorageFault, match="holds no study"):
        harness.load("empty.sqlite")


def test_importing_harness_loads_nothing_heavy() -> None:
    program = "import sys, harness; harness.load; assert not {'pandas', 'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def data(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ("data", *arguments))


def test_parquet_gives_the_same_frames(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    write(tmp_path / "results.sqlite", fake_score(loss=800.0))
    for number, source in enumerate((study, tmp_path / "results.sqlite")):
        folder = tmp_path / str(number)
        assert data(str(source), "--into", str(folder), "--format", "parquet").exit_code == 0
        for name, frame in harness.load(source).items():
            pd.testing.assert_frame_equal(pd.read_parquet(folder / f"{name}.parquet"), frame)


def test_csv_reads_back_as_the_docs_say(tmp_path: Path) -> None:
    not_applicable = fake_score("bias", status=Status.NA, notes=("one", "two"))
    path = write(tmp_path / "results.sqlite", fake_score(perplexity=1 / 3), not_applicable)
    result = data(str(path), "--into", str(tmp_path / "out"))
    assert result.output.split() == [str(tmp_path / "out" / f"{name}.csv") for name in COLUMNS]
    for name, frame in frames.read(path).items():
        dtypes = dict(frame.dtypes)
        back = pd.read_csv(tmp_path / "out" / f"{name}.csv", dtype=dtypes, keep_default_na=False, na_values=[""])
        pd.testing.assert_frame_equal(back, frame)
    assert list(pd.read_csv(tmp_path / "out" / "scores.csv", keep_default_na=False)["status"]) == ["OK", "NA"]


def test_data_says_what_is_missing(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "say where to" in str(data(str(study)).exception)
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    error = data(str(study), "--into", str(tmp_path / "out"), "--format", "parquet").exception
    assert isinstance(error, UsageError)
    assert "pip install '.[parquet]' in the harness's checkout" in str(error)
    assert not (tmp_path / "out").exists()
