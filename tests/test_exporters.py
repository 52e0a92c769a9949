"""Results in experiment trackers: the real packages on local stores; what a candidate wrote stays out or is cleaned."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness import frames
from harness.cli import cli
from harness.errors import EndpointFault, StorageFault, UsageError
from harness.exporters import mlflow, wandb
from harness.exporters.runs import runs
from harness.status import Status
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import fake_score
from harness.testing.fake_study import TEXT, fake_study

HOSTILE = "\x1b]0;owned\x07\u202e\n" + "y" * 5000
needs_mlflow = pytest.mark.skipif(
    find_spec("mlflow") is None or find_spec("sqlalchemy") is None, reason="mlflow is not installed"
)
needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")


def hostile(folder: Path) -> Path:
    """One run of a hostile candidate: a pattern, a ratio with an infinite perplexity, and an error."""
    values: dict[str, Any] = {
        "author": "model",
        "model": HOSTILE,
        "idea": HOSTILE,
        "template": HOSTILE,
        "notes": (HOSTILE,),
        "text": HOSTILE,
    }
    scores = [
        fake_score(HOSTILE, "2:4", perplexity=30.0, **values),
        fake_score(HOSTILE, "0.5", loss=800.0, **values),
        fake_score(HOSTILE, "rows:0.25", status=Status.TIMEOUT, message=HOSTILE, **values),
    ]
    cells = [Cell(score.target, score.sparsity, score.pruner) for score in scores]
    with Store(folder / "results.sqlite") as store:
        store.save_plan(Plan("tiny", TEXT, {}, "docker", tuple(cells)))
        for cell, score in zip(cells, scores, strict=True):
            store.add_score(cell, score)
    return folder / "results.sqlite"


def test_a_run_is_one_pruner_on_one_target(tmp_path: Path) -> None:
    found = frames.read(fake_study(tmp_path))
    listed = runs(found)
    assert len(listed) == 2 * 3
    assert len({run.digest for run in listed}) == 6
    sample = next(run for run in listed if run.name == "sample/l1-norm-pruning/01 on testbed-opt")
    assert sample.params == {
        "pruner": "sample/l1-norm-pruning/01",
        "target": "testbed-opt",
        "author": "model",
        "idea": "l1-norm-pruning",
        "model": "sample",
        "template": "one-pass",
        "protocol": "protocol-1",
        "seed": "0",
        "isolation": "docker",
        "status": "OK 4",
        **{f"status/{label}": "OK" for label in ("0.25", "0.5", "2-4", "rows-0.5")},
    }
    assert list(sample.points) == [250, 500]
    of_it = found.scores[
        (found.scores["pruner"] == sample.params["pruner"]) & (found.scores["target"] == "testbed-opt")
    ]
    expected = dict(zip(of_it["sparsity"], of_it["perplexity"], strict=True))
    assert sample.points[250]["perplexity"] == expected["0.25"]
    at_half = {name: sample.points[500][name] for name in ("perplexity", "perplexity/2-4", "perplexity/rows")}
    assert list(at_half.values()) == [expected["0.5"], expected["2:4"], expected["rows:0.5"]]
    failed = next(run for run in listed if run.params["status"] == "TRUNCATED 4")
    assert "perplexity" not in failed.points[250]


def test_sparsities_that_are_near_have_steps_of_their_own(tmp_path: Path) -> None:
    found = frames.read(fake_study(tmp_path))
    rows = found.scores[found.scores["pruner"] == "sample/l1-norm-pruning/01"].iloc[[0, 0, 0]].copy()
    rows["ratio"] = [0.25, 0.2501, 0.2502]
    rows["perplexity"] = [20.0, 21.0, 22.0]
    (run,) = runs(replace(found, scores=rows))
    assert {step: point["perplexity"] for step, point in run.points.items()} == {250: 20.0, 251: 21.0, 252: 22.0}


def test_nothing_hostile_is_in_a_run(tmp_path: Path) -> None:
    (run,) = runs(frames.read(hostile(tmp_path)))
    for text in (run.name, *run.params, *run.params.values(), *(key for point in run.points.values() for key in point)):
        assert len(text) <= 260
        assert not set(text) & set("\x1b\x07\u202e\n")
    assert run.params["status"] == "OK 2, TIMEOUT 1"
    assert all(math.isfinite(value) for point in run.points.values() for value in point.values())
    assert "perplexity" not in run.points[500]
    assert "perplexity/2-4" in run.points[500]


@needs_mlflow
@pytest.mark.parametrize("make", [fake_study, hostile])
def test_mlflow_has_the_runs_once(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path)
    expected = {run.name: run for run in runs(frames.read(path))}
    number = len(expected)
    uri = f"sqlite:///{tmp_path}/mlflow.db"  # absolute: MLflow keeps a store for each address
    said = [CliRunner().invoke(cli, ("data", str(path), "--mlflow", uri)).output for _ in range(2)]
    assert said == [f"MLflow: {number} new runs, 0 were there\n", f"MLflow: 0 new runs, {number} were there\n"]
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert {run.info.run_name for run in found} == set(expected)
    for run in found:
        mine = expected[run.info.run_name]
        assert run.info.status == "FINISHED"
        assert run.data.params == mine.params
        for key in {key for point in mine.points.values() for key in point}:
            history = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, key)}
            assert history == {step: point[key] for step, point in mine.points.items() if key in point}
    assert {file.name for file in tmp_path.iterdir()} <= {"results.sqlite", "mlflow.db"}


@needs_mlflow
def test_mlflow_that_does_not_answer_is_one_line_without_the_password() -> None:
    with pytest.raises(StorageFault, match="MLflow does not take the runs") as caught:
        mlflow.export("tiny", [], "ftp://me:secret@nowhere/x")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@needs_wandb
@pytest.mark.parametrize("make", [fake_study, hostile])
def test_wandb_offline_has_the_runs(make: Any, tmp_path: Path) -> None:
    path = make(tmp_path)
    expected = runs(frames.read(path))
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "harness", "data", str(path), "--wandb", "team/project"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == f"W&B: {len(expected)} runs\n"
    files = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == len(expected)
    found = {}
    for file in files:
        logged = list(records(file))
        (run,) = (record.run for record in logged if record.WhichOneof("record_type") == "run")
        found[run.display_name] = logged
        assert (run.entity, run.project, run.run_group) == ("team", "project", "tiny")
        assert not (run.host or run.HasField("git"))
    for mine in expected:
        (run,) = (record.run for record in found[mine.name] if record.WhichOneof("record_type") == "run")
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert {key: value for key, value in config.items() if key != "_wandb"} == mine.params
        points = {}
        for record in found[mine.name]:
            if record.WhichOneof("record_type") == "history":
                items = {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
                points[record.history.step.num] = {key: value for key, value in items.items() if key[0] != "_"}
        assert points == mine.points
    content = b"".join(file.read_bytes() for file in files)
    assert not {text for text in (b"\x1b]0;", b"\xe2\x80\xae", b"y" * 200, str(tmp_path).encode()) if text in content}
    assert not list(tmp_path.glob("wandb/offline-run-*/files/*"))


def records(file: Path) -> Iterator[Any]:
    """What a .wandb file holds: a header of 7 bytes, then blocks of 32 KiB with parts of protobuf records."""
    from wandb.proto.wandb_internal_pb2 import Record

    raw, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(raw):
        if (1 << 15) - place % (1 << 15) < 7:  # too little of a block for the head of a part
            place += (1 << 15) - place % (1 << 15)
            continue
        size, kind = struct.unpack_from("<HB", raw, place + 4)
        whole += raw[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # all of a record, or its last part
            yield Record.FromString(whole)
            whole = b""


@needs_wandb
def test_wandb_without_a_login_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": tmp_path, "NETRC": tmp_path / "none", "WANDB_DIR": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EndpointFault, match="wandb login") as caught:
        wandb.export("tiny", runs(frames.read(fake_study(tmp_path)))[:1], "project")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("option", "extra"), [("--mlflow", "mlflow"), ("--wandb", "wandb")])
def test_a_missing_package_is_one_line(
    option: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    error = CliRunner().invoke(cli, ("data", str(fake_study(tmp_path)), option, "x")).exception
    assert isinstance(error, UsageError)
    assert f"pip install '.[{extra}]' in the harness's checkout" in str(error)
