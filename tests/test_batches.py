"""Batches: everything asked at once, nothing asked twice, nothing that came back lost, whatever goes wrong."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import asking, batch_endpoint, batch_lines, batches
from harness.batch_ledger import Batch
from harness.cli import cli
from harness.errors import EndpointFault, UsageError
from harness.forecast import forecast
from harness.ledger import Ledger
from harness.planning import attempts
from harness.store import Store
from harness.study import Study, parse
from harness.study_run import run
from harness.testing.batch_server import Submission
from harness.testing.fake_bench import FakeLab
from harness.testing.openai_server import OpenAIServer

CODE = "```python\ndef prune(task):\n    for layer in task.layers():\n        layer.keep(layer.weight != 0)\n```"
RESULTS = Path("results.sqlite")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    monkeypatch.setattr(batches, "POLL_SECONDS", (0.001, 0.01))
    monkeypatch.setattr(batch_endpoint, "_RETRIES", 1)
    yield tmp_path


def study(
    server: OpenAIServer, *, ideas: str = '["*"]', more: str = "", batch: bool = True, options: str = ""
) -> Study:
    head = f'name = "asked"\ntargets = ["t"]\nsparsities = [0.5]\nideas = {ideas}\n{more}\n'
    table = f'[[generators]]\nmodel = "model-0"\nendpoint = "{server.url}"\nbatch = {str(batch).lower()}\n{options}\n'
    return parse(head + table, "asked.toml")


def ask(described: Study) -> asking.Asked:
    with Store(RESULTS) as store:
        return asking.ask(described, attempts(described), Ledger(store))


def running() -> list[Batch]:
    with Store(RESULTS) as store:
        return Ledger(store).batches.running()


def rows(query: str) -> list[tuple[object, ...]]:
    with Store(RESULTS) as store, store.reading() as connection:
        return list(connection.execute(query))


def manifests() -> dict[str, dict[str, object]]:
    found = [json.loads(path.read_text()) for path in Path("generated").glob("*/*/*/manifest.json")]
    return {manifest["id"]: manifest for manifest in found}


@pytest.mark.parametrize(("api", "path"), [("chat", "/v1/chat/completions"), ("responses", "/v1/responses")])
def test_all_is_asked_as_one_file_and_answered_as_by_direct_requests(api: str, path: str) -> None:
    with OpenAIServer(CODE) as server:
        described = study(server, options=f'api = "{api}"\ninput_price = 10.0\noutput_price = 50.0')
        asked = ask(described)
        assert (asked.answered, asked.faults, asked.unasked) == (10, {}, [])
        assert server.requests == []
        (batch,) = server.batches.batches
        assert batch.record["endpoint"] == path
        assert batch.record["completion_window"] == "24h"
        assert server.batches.ids() == [attempt.id for attempt in attempts(described)]
        assert {line["method"] for line in batch.lines} == {"POST"}
        assert ask(described).answered == 10, "nothing is left to ask"
        assert len(server.batches.batches) == 1
    assert sorted(manifests()) == sorted(server.batches.ids())
    assert asked.spent == pytest.approx(10 * 0.02)
    with Store(RESULTS) as store:
        ledger = Ledger(store)
        calls = ledger.calls()
        assert {name: len(made) for name, made in calls.items()} == dict.fromkeys(manifests(), 1)
        exchange = calls["asked.model-0/l1-norm-pruning/01"][0].exchange
        assert exchange is not None
        assert (exchange.status, exchange.seconds) == (200, 90)
        assert exchange.request["url"] == server.url + path.removeprefix("/v1")
        assert exchange.headers["x-request-id"].startswith("req-")
        assert json.loads(exchange.content)["model"] == "model-0-2024-12-17"
        assert batch.record["metadata"]["harness_promise"] == ledger.promised()
        assert forecast(described, attempts(described), calls)[0].requests == 0
    assert b"sk-test" not in RESULTS.read_bytes()


def test_answers_without_code_are_answers() -> None:
    with OpenAIServer(CODE, "refuse", "decline", "truncate", "filter", "answer", repeat=False) as server:
        described = study(server, ideas='["1", "2", "3", "4", "5"]')
        assert ask(described).answered == 5
        assert ask(described).answered == 5
        assert len(server.batches.ids()) == 5
    statuses = sorted(str(manifest["status"]) for manifest in manifests().values())
    assert statuses == ["None", "None", "REFUSED", "REFUSED", "REFUSED"]


@pytest.mark.parametrize(
    ("behaviour", "answered", "said"),
    [
        ("invalid", 0, "is failed: Enqueued token limit reached"),
        ("expire", 5, "is expired: This request could not be executed in time"),
        ("cancel", 5, "is cancelled"),
        ("partial", 5, "is completed: it has no answer"),
        ("silent", 0, "is completed: it has no answer"),
        ("errors", 5, "answered HTTP 500"),
        ("malformed", 8, "is completed: it has no answer"),
        ("refuse", 0, "answered HTTP 400 for a batch: No such file"),
    ],
)
def test_what_a_batch_leaves_out_is_a_fault_and_asked_by_the_next_run(
    behaviour: Submission, answered: int, said: str
) -> None:
    with OpenAIServer(CODE) as server:
        server.batches.submissions = [behaviour]
        described = study(server)
        first = ask(described)
        assert (first.answered, len(first.faults)) == (answered, 10 - answered)
        assert all(said in str(fault) for fault in first.faults.values())
        assert running() == []
        again = ask(described)
        assert (again.answered, again.faults) == (10, {})
        taken = server.batches.ids()
        if behaviour != "refuse":
            assert taken[10:] == [attempt.id for attempt in attempts(described) if attempt.id in first.faults]
    assert len(manifests()) == 10


def test_every_line_is_on_file_as_it_came_even_what_cannot_be_read() -> None:
    with OpenAIServer(CODE) as server:
        server.batches.submissions = ["malformed"]
        ask(study(server))
        (file,) = (content for name, content in server.batches.files.items() if name.startswith("batch_0"))
    kept = rows("SELECT line FROM batch_line WHERE batch = 1 ORDER BY position")
    assert [line for (line,) in kept] == file.splitlines()
    assert len(kept) == 11


def test_lines_of_strangers_say_nothing() -> None:
    request = {"url": "http://127.0.0.1/v1/chat/completions", "body": {}}
    good = b'{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": []}}}'
    odd = [
        b"",
        b"[" * 100_000,
        b"\xff\xfe",
        b"7",
        b'{"custom_id": ["a"]}',
        b'{"custom_id": "b"}',
        b'{"custom_id": "a", "response": 7}',
        b'{"custom_id": "a", "response": {"status_code": "200"}}',
        b'{"custom_id": "a", "response": {"status_code": true, "body": 1}}',
        b'{"custom_id": "a", "error": {"code": "batch_expired"}}',
    ]
    found = batch_lines.returned(odd, {"a": request}, 1.0, "now")
    assert (found.answers, found.reasons, found.unreadable) == ({}, {"a": "batch_expired"}, 5)
    found = batch_lines.returned([*odd, good, good], {"a": request}, 1.0, "now")
    assert list(found.answers) == ["a"]


@pytest.mark.parametrize("behaviour", ["limit", "fail"])
def test_a_submission_that_is_not_taken_for_now_is_tried_again(behaviour: Submission) -> None:
    with OpenAIServer(CODE) as server:
        server.batches.submissions = [behaviour, behaviour]
        assert ask(study(server)).answered == 10
        assert (len(server.batches.batches), server.batches.asked.count(("POST", "/batches"))) == (1, 3)
        assert server.batches.asked.count(("POST", "/files")) == 1


def test_an_endpoint_that_takes_no_batch_is_tried_by_the_next_run() -> None:
    with OpenAIServer(CODE) as server:
        server.batches.submissions = ["limit"] * batches.SUBMISSIONS
        described = study(server)
        first = ask(described)
        assert (first.answered, len(first.faults)) == (0, 10)
        assert running() == []
        assert ask(described).answered == 10
        assert len(server.batches.batches) == 1


def test_a_batch_that_was_taken_before_the_connection_dropped_is_found() -> None:
    with OpenAIServer(CODE) as server:
        server.batches.submissions = ["drop"]
        assert ask(study(server)).answered == 10
        assert len(server.batches.batches) == 1
        assert ("GET", "/batches") in server.batches.asked


@pytest.mark.parametrize("how", ["fail", "cut", "gone"])
def test_a_file_that_does_not_come_is_fetched_again(how: str) -> None:
    with OpenAIServer(CODE) as server:
        server.batches.downloads = [how, how]  # type: ignore[list-item]
        assert ask(study(server)).answered == 10
        assert len(server.batches.batches) == 1


def test_a_batch_that_cannot_be_looked_at_is_left_alone_and_found_by_the_next_run() -> None:
    with OpenAIServer(CODE) as server:
        server.batches.downloads = ["gone"] * 3
        described = study(server)
        first = ask(described)
        assert (first.answered, len(first.faults)) == (0, 10)
        (batch,) = running()
        assert batch.id == "batch_0"
        assert ask(described).answered == 10
        assert len(server.batches.batches) == 1


def test_a_batch_that_the_endpoint_has_forgotten_after_a_month_is_asked_again() -> None:
    with OpenAIServer(CODE) as server:
        server.batches.downloads = ["gone"] * 6
        described = study(server)
        ask(described)
        with Store(RESULTS) as store, store.transaction() as connection:
            connection.execute("UPDATE batch SET created = '2020-01-01T00:00:00+00:00'")
        assert len(ask(described).faults) == 10
        assert running() == []
        assert ask(described).answered == 10
        assert len(server.batches.batches) == 2


def test_other_generators_are_asked_directly_beside_a_batch() -> None:
    with OpenAIServer(CODE) as server, OpenAIServer(CODE, "refuse") as other:
        both = f'{study(server).source}\n[[generators]]\nmodel = "model-1"\nendpoint = "{other.url}"\n'
        assert ask(parse(both, "asked.toml")).answered == 20
        assert (len(server.batches.ids()), len(server.requests)) == (10, 0)
        assert (len(other.batches.ids()), len(other.requests)) == (0, 10)


def test_options_that_the_model_does_not_take_are_left_out_by_the_next_run() -> None:
    with OpenAIServer(CODE) as server:
        server.rejects = {"temperature": "param"}
        described = study(server, ideas='["1"]', options="temperature = 0.5\nmax_tokens = 100")
        (fault,) = ask(described).faults.values()
        assert "does not take temperature" in str(fault)
        assert ask(described).answered == 1
        one, two = (batch.lines[0]["body"] for batch in server.batches.batches)
        assert (one["temperature"], one["max_completion_tokens"]) == (0.5, 100)
        assert two == {name: value for name, value in one.items() if name != "temperature"}


def test_a_batch_goes_on_though_the_study_has_turned_to_direct_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(CODE) as server:
        with monkeypatch.context() as patched:
            interrupt_at_the_first_pause(patched)
            with pytest.raises(KeyboardInterrupt):
                ask(study(server))
        assert ask(study(server, batch=False)).answered == 10
        assert server.requests == []


def interrupt_at_the_first_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)


def test_ctrl_c_while_it_waits_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(CODE) as server:
        Path("asked.toml").write_text(study(server).source)
        with monkeypatch.context() as patched:
            interrupt_at_the_first_pause(patched)
            stopped = CliRunner().invoke(cli, ["study", "run", "asked.toml"])
        assert stopped.exit_code == 130
        last = stopped.stderr.splitlines()[-1]
        assert last == (
            "stopped with 0 of 10 cells done, and what was submitted as a batch runs on; the same command goes on from"
            " there"
        )
        shown = CliRunner().invoke(cli, ["study", "status", "asked"])
        assert "batch batch_0 of model-0 is at" in shown.output
        described = parse(Path("asked.toml").read_text(), "asked.toml")
        with Store(Path("results/asked/results.sqlite")) as store:
            tally = run(described, store, FakeLab().open_bench)
        assert (tally.scored, tally.faults) == (10, 0)
        assert len(server.batches.batches) == 1


def test_a_cap_cuts_a_batch_to_what_it_is_expected_to_cost() -> None:
    priced = "input_price = 0.0\noutput_price = 100.0\nmax_tokens = 1000"  # 0.10 an answer, and in truth 0.02
    with OpenAIServer(CODE) as server:
        described = study(server, more="max_cost = 0.35", options=priced)
        first = ask(described)
        listed = [attempt.id for attempt in attempts(described)]
        assert server.batches.ids() == listed[:3]
        assert (first.answered, first.unasked, first.faults) == (3, listed[3:], {})
        assert first.spent == pytest.approx(0.06)
        second = ask(described)
        assert (second.answered, second.unasked) == (10, []), "by its own answers, all fits"
        assert second.spent == pytest.approx(0.20)


def test_a_running_batch_counts_against_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    priced = "input_price = 0.0\noutput_price = 100.0\nmax_tokens = 1000"
    with OpenAIServer(CODE) as server:
        described = study(server, more="max_cost = 0.35", options=priced)
        with monkeypatch.context() as patched:
            interrupt_at_the_first_pause(patched)
            with pytest.raises(KeyboardInterrupt):
                ask(described)
        second = ask(described)
        assert (second.answered, len(second.unasked)) == (3, 7)
        assert len(server.batches.batches) == 1


def test_a_cap_needs_prices() -> None:
    with OpenAIServer(CODE) as server, pytest.raises(UsageError, match="needs the price of 'model-0'"):
        ask(study(server, more="max_cost = 1.0"))


def test_a_discount_is_counted_only_where_the_study_gives_one() -> None:
    priced = "input_price = 10.0\noutput_price = 50.0\n"
    with OpenAIServer(CODE, "answer") as server:
        described = study(server, ideas='["1"]', options=priced + "batch_discount = 0.5")
        plain = study(server, ideas='["1"]', options=priced)
        (reduced,), (full,) = (forecast(one, attempts(one), {}) for one in (described, plain))
        assert reduced.cost is not None
        assert full.cost == pytest.approx(2 * reduced.cost)
        assert ask(described).spent == pytest.approx(0.01)
    (manifest,) = manifests().values()
    assert manifest["cost"] == {"usd": pytest.approx(0.01), "prices": "study file, batch discount 0.5"}


def test_a_discount_is_none_of_direct_requests() -> None:
    priced = "input_price = 10.0\noutput_price = 50.0\nbatch_discount = 0.5"
    with OpenAIServer(CODE) as server:
        described = study(server, ideas='["1"]', options=priced, batch=False)
        assert ask(described).spent == pytest.approx(0.02)
        assert ask(study(server, ideas='["1"]', options=priced)).spent == pytest.approx(0.02)


def test_more_than_a_batch_may_hold_is_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_lines, "MOST_REQUESTS", 4)
    with OpenAIServer(CODE) as server:
        described = study(server)
        assert ask(described).answered == 10
        assert [len(batch.lines) for batch in server.batches.batches] == [4, 4, 2]
        assert server.batches.ids() == [attempt.id for attempt in attempts(described)]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"id": 7, "status": "completed"},
        {"id": "", "status": "completed"},
        {"id": "b", "status": None},
    ],
)
def test_a_batch_without_an_id_or_a_state_is_a_fault(record: dict[str, object]) -> None:
    with pytest.raises(EndpointFault):
        batch_endpoint._state(record)


def test_what_else_an_endpoint_says_of_a_batch_may_be_anything() -> None:
    odd = {"output_file_id": 7, "error_file_id": "", "errors": {"data": ["\x1b[31mno"]}, "request_counts": [1]}
    state = batch_endpoint._state({"id": "b", "status": "failed", "created_at": "1", "failed_at": 9, **odd})
    assert (state.files, state.counts, state.said, state.seconds) == ((), "", "\ufffd[31mno", 0.0)


def test_a_local_model_has_no_batches() -> None:
    text = 'name = "a"\ntargets = ["t"]\nsparsities = [0.5]\nideas = ["1"]\n[[generators]]\nmodel = "local:m"\n'
    with pytest.raises(UsageError, match=re.escape("a model on this machine has no batch API")):
        parse(text + "batch = true\n", "asked.toml")


def test_another_of_the_same_study_is_not_taken_for_its_own() -> None:
    with OpenAIServer(CODE) as server:
        described = study(server)
        ask(described)
        Path("results.sqlite").rename("elsewhere.sqlite")
        Path("generated").rename("before")
        server.batches.submissions, server.batches.page = ["drop"], 1
        assert ask(described).answered == 10
        one, two = server.batches.batches
        assert one.record["metadata"]["harness_promise"] == two.record["metadata"]["harness_promise"]
        assert rows("SELECT id FROM batch") == [("batch_1",)]


# Where a process is killed: before and after each thing that it does with the endpoint or puts on file.
KILLED = """
import os, signal, sys
from pathlib import Path
from harness import asking, batches
from harness.batch_endpoint import BatchEndpoint
from harness.batch_ledger import BatchLedger
from harness.ledger import Ledger
from harness.store import Store
from harness.planning import attempts
from harness.study import load
batches.POLL_SECONDS = (0.001, 0.01)
name, moment = sys.argv[1:]
owner = BatchEndpoint if hasattr(BatchEndpoint, name) else BatchLedger
done = getattr(owner, name)
def killed(*arguments):
    if moment == "after":
        done(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, killed)
study = load("asked.toml")
with Store(Path("results.sqlite")) as store:
    asking.ask(study, attempts(study), Ledger(store))
"""
SUBMITTED = ("submitted", "state", "lines", "keep", "end")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["open", "upload", "uploaded", "submit", "submitted", "state", "lines", "keep", "end"])
def test_a_kill_at_any_step_loses_nothing_and_asks_for_nothing_twice(step: str, moment: str) -> None:
    with OpenAIServer(CODE) as server:
        server.batches.polls = 0
        described = study(server, ideas='["1", "2"]')
        Path("asked.toml").write_text(described.source)
        child = subprocess.run([sys.executable, "-c", KILLED, step, moment], check=False, capture_output=True)
        assert child.returncode == -signal.SIGKILL, child.stderr.decode()
        taken = len(server.batches.batches)
        assert taken == (step in SUBMITTED or (step, moment) == ("submit", "after"))
        asked = ask(described)
        assert (asked.answered, asked.faults) == (2, {})
        assert len(server.batches.batches) == 1
    assert len(manifests()) == 2
    assert running() == []
