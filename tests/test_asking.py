"""The asking half of a study: every attempt accounted for, nothing received asked for again, whatever fails."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import asking, pack, packing
from harness.errors import UsageError
from harness.gates import Gate
from harness.ledger import Ledger, digest
from harness.planning import attempts
from harness.records import Prompt
from harness.store import Store
from harness.study import Study, parse
from harness.study_run import run
from harness.testing.fake_bench import FakeLab
from harness.testing.openai_server import Behaviour, OpenAIServer

CODE = "```python\ndef prune(task):\n    for layer in task.layers():\n        layer.keep(layer.weight != 0)\n```"
FAULTS: tuple[Behaviour, ...] = ("rate_limit", "fail", "drop", "malformed", "html", "no_choices", "error_object", "cut")
ANSWERS: tuple[Behaviour, ...] = ("truncate", "filter", "refuse", "decline")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    monkeypatch.setattr(asking, "_PAUSE_SECONDS", 0.0)
    yield tmp_path


def study(*servers: OpenAIServer, ideas: str = '["*"]', samples: int = 1, more: str = "", **of_each: float) -> Study:
    options = "".join(f"{name} = {json.dumps(value)}\n" for name, value in of_each.items())
    tables = "".join(
        f'[[generators]]\nmodel = "model-{number}"\nendpoint = "{server.url}"\n{options}'
        for number, server in enumerate(servers)
    )
    head = f'name = "asked"\ntargets = ["t"]\nsparsities = [0.5]\nideas = {ideas}\nsamples = {samples}\n{more}\n'
    return parse(head + tables, "asked.toml")


def ask(described: Study, path: Path = Path("results.sqlite")) -> asking.Asked:
    with Store(path) as store:
        return asking.ask(described, attempts(described), Ledger(store))


def manifests() -> dict[str, dict[str, object]]:
    found = [json.loads(path.read_text()) for path in Path("generated").glob("*/*/*/manifest.json")]
    return {manifest["id"]: manifest for manifest in found}


def test_every_attempt_is_promised_asked_once_and_archived() -> None:
    with OpenAIServer(CODE) as one, OpenAIServer(CODE) as two:
        described = study(one, two, samples=2)
        promised = attempts(described)
        assert len(promised) == 40
        first = ask(described)
        assert (first.answered, first.faults, first.unasked) == (40, {}, [])
        assert (len(one.requests), len(two.requests)) == (20, 20)
        again = ask(described)
        assert again.answered == 40
        assert len(one.requests) == 20
    found = manifests()
    assert sorted(found) == sorted(attempt.id for attempt in promised)
    assert {attempt.id for attempt in promised} >= {
        "asked.model-0/l1-norm-pruning/01",
        "asked.model-1/l1-norm-pruning/02",
    }
    assert {manifest["template"] for manifest in found.values()} == {"one-pass"}
    with Store(Path("results.sqlite")) as store:
        ledger = Ledger(store)
        assert ledger.promised() == digest(promised)
        calls = ledger.calls()
        assert {name: len(made) for name, made in calls.items()} == dict.fromkeys(found, 1)
        exchange = calls["asked.model-0/l1-norm-pruning/01"][0].exchange
        assert exchange is not None
        assert json.loads(exchange.content)["model"] == "model-0-2024-12-17"
        assert "sk-test" not in json.dumps(exchange.request)


def test_nothing_is_added_or_dropped_once_a_request_was_made() -> None:
    with OpenAIServer(CODE) as server:
        ask(study(server, ideas='["1"]'))
        with pytest.raises(UsageError, match="another list of attempts"):
            ask(study(server, ideas='["1", "2"]'))
        assert len(server.requests) == 1


@pytest.mark.parametrize("behaviour", ANSWERS)
def test_what_is_no_code_is_an_answer_and_stays_one(behaviour: Behaviour) -> None:
    with OpenAIServer(CODE, behaviour) as server:
        described = study(server, ideas='["1"]')
        assert ask(described).answered == 1
        assert ask(described).answered == 1
        assert len(server.requests) == 1
    ((_, manifest),) = manifests().items()
    if behaviour == "truncate":  # here after the code, which is whole
        assert (manifest["finish_reason"], manifest["status"]) == ("length", None)
    else:
        assert manifest["status"] == "REFUSED"


@pytest.mark.parametrize("behaviour", FAULTS)
def test_a_passing_fault_is_tried_again_in_the_same_run(behaviour: Behaviour) -> None:
    with OpenAIServer(CODE, behaviour, repeat=False) as server:
        assert ask(study(server, ideas='["1"]')).answered == 1
        assert len(server.requests) == 2


@pytest.mark.parametrize("behaviour", [*FAULTS, "unauthorized", "no_model"])
def test_a_lasting_fault_is_told_and_tried_by_the_next_run(
    behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "RETRIES", 1)
    with OpenAIServer(CODE, behaviour) as server:
        described = study(server, concurrency=1)
        first = ask(described)
        assert (first.answered, len(first.faults)) == (0, 10)
        assert len(server.requests) <= 75, "a generator that only fails is given up"
        server.behave("answer")
        assert ask(described).answered == 10
    assert len(manifests()) == 10


def test_three_generators_ten_ideas_five_samples_and_faults_of_every_kind() -> None:
    draw = random.Random(7)
    kinds = [*FAULTS, *ANSWERS]

    def mixed() -> list[Behaviour]:
        return [draw.choice(kinds) if draw.random() < 0.05 * len(kinds) else "answer" for _ in range(2000)]

    with OpenAIServer(CODE, *mixed()) as a, OpenAIServer(CODE, *mixed()) as b, OpenAIServer(CODE, *mixed()) as c:
        described = study(a, b, c, samples=5, concurrency=4)
        asked = ask(described)
        while asked.faults:
            asked = ask(described)
        good = Counter(
            (server.url, request.body["model"])
            for server in (a, b, c)
            for request in server.requests
            if request.behaviour in ("answer", *ANSWERS)
        )
    assert asked.answered == 150
    assert sum(good.values()) == 150, "no answer was asked for again"
    assert len(manifests()) == 150
    with Store(Path("results.sqlite")) as store:
        calls = Ledger(store).calls()
    assert len(calls) == 150
    sent = sum(len(made) for made in calls.values())
    assert sent == len(a.requests) + len(b.requests) + len(c.requests), "each request is on file"


def test_the_cap_is_passed_by_no_more_than_the_calls_in_flight() -> None:
    prices = {"input_price": 10.0, "output_price": 50.0}  # of 1000 and 200 tokens: 2 cents an answer

    def capped(dollars: float) -> Study:
        return study(server, more=f"max_cost = {dollars}", concurrency=3, **prices)  # type: ignore[arg-type]

    with OpenAIServer(CODE) as server:
        described = capped(0.09)
        first = ask(described)
        assert 0.09 <= first.spent <= 0.09 + 3 * 0.02
        assert len(server.requests) == first.answered < 10
        assert first.answered + len(first.unasked) == 10
        again = ask(described)
        assert again.answered == first.answered
        assert again.spent == pytest.approx(first.spent)
        assert ask(capped(1.0)).answered == 10
    assert {manifest["cost"]["usd"] for manifest in manifests().values()} == {0.02}  # type: ignore[index]


def test_a_cap_needs_prices() -> None:
    with OpenAIServer(CODE) as server, pytest.raises(UsageError, match="needs the price of 'model-0'"):
        ask(study(server, more="max_cost = 1.0"))


def test_limits_narrow_the_gate_and_good_answers_widen_it() -> None:
    gate = Gate(8)
    for expected in (4, 2, 1, 1):
        gate.narrow()
        assert gate.width == expected
    for _ in range(60):
        with gate:
            pass
    assert gate.width == 8


def test_a_gate_holds_back_what_is_too_many() -> None:
    gate, inside, most = Gate(8), [0], [0]
    gate.narrow()
    lock = threading.Lock()

    def go() -> None:
        with gate:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=go) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most[0] <= 8


def test_another_process_that_asks_is_waited_for() -> None:
    with OpenAIServer(CODE) as server, Store(Path("results.sqlite")) as store:
        described = study(server, ideas='["1"]')
        with Ledger(store).alone(), pytest.raises(UsageError, match="another process is asking"):
            ask(described)
        assert ask(described).answered == 1


def test_an_archive_of_another_prompt_is_not_taken() -> None:
    with OpenAIServer(CODE) as server:
        described = study(server, ideas='["1"]')
        ask(described)
        assert ask(described, Path("elsewhere.sqlite")).answered == 1, "the archive answers"
        assert len(server.requests) == 1
        (manifest,) = Path("generated").glob("*/*/*/manifest.json")
        text = json.loads(manifest.read_text())
        text["files"]["prompt.md"] = "0" * 64
        manifest.write_text(json.dumps(text))
        with pytest.raises(UsageError, match="answers another prompt"):
            ask(described, Path("third.sqlite"))


def test_a_study_asks_then_runs_what_was_answered() -> None:
    with OpenAIServer(CODE, "answer", "refuse", "unauthorized", "unauthorized") as server:
        described = study(server, ideas='["1", "2", "3", "4"]', concurrency=1)
        with Store(Path("results.sqlite")) as store:
            tally = run(described, store, FakeLab().open_bench)
            assert (tally.planned, tally.scored, tally.faults) == (4, 2, 2)
            assert sorted(score.status for score in store.scores()) == ["OK", "REFUSED"]
            assert {fault.status for fault in store.faults()} == {"INFRA_ENDPOINT"}
            server.behave("answer")
            tally = run(described, store, FakeLab().open_bench)
            assert (tally.planned, tally.scored, tally.faults) == (4, 4, 0)
        assert len(server.requests) == 5


def test_a_study_that_is_not_answered_to_the_end_is_packed() -> None:
    with OpenAIServer(CODE, "answer", "unauthorized") as server:
        described = study(server, ideas='["1", "2", "3"]', concurrency=1)
        with Store(Path("results/asked/results.sqlite")) as store:
            run(described, store, FakeLab().open_bench)
        packed = packing.write(Path("results/asked/results.sqlite"))
        assert (packed.counts["cells"], packed.counts["scores"], packed.counts["faults"]) == (3, 1, 2)
    assert pack.verify(packed.path).manifest["study"] == "asked"


def test_two_attempts_of_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.planning.render", lambda idea, template: Prompt(idea, "?", template, "0"))
    text = 'name = "s"\ntargets = ["t"]\nsparsities = [0.5]\nideas = ["1"]\nprompts = ["one-pass", "other"]\n'
    tables = '[[generators]]\nmodel = "a"\n[[generators]]\nmodel = "b"\nname = "a.other"\n'
    with pytest.raises(UsageError, match=r"two attempts would have the id s\.a\.other/"):
        attempts(parse(text + tables, "s.toml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('ideas = ["1"]\npruners = ["bias"]', "generators and ideas need one another"),
        ('[[generators]]\nmodel = "a"', "generators and ideas need one another"),
        ('ideas = ["1"]\n[[generators]]\nmodle = "a"', "'modle' of generator 1 is unknown.*Did you mean 'model'"),
        ('ideas = ["1"]\n[[generators]]\nname = "a"', "'model' of generator 1 is missing"),
        ('ideas = ["1"]\n[[generators]]\nmodel = "a"\napi = "x"', "'api' of generator 1 is wrong"),
        ('ideas = ["1"]\n[[generators]]\nmodel = "a"\n[[generators]]\nmodel = "A"', "two generators are called a"),
        ('ideas = ["nonsense"]\n[[generators]]\nmodel = "a"', "no idea 'nonsense'"),
        ('ideas = ["1"]\nprompts = ["x"]\n[[generators]]\nmodel = "a"', "no template 'x'"),
        ("pruners = []", "there is nothing to run; write pruners"),
    ],
)
def test_what_is_wrong_with_a_study_that_asks(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        attempts(parse(f'name = "s"\ntargets = ["t"]\nsparsities = [0.5]\n{text}\n', "s.toml"))
    assert "\n" not in str(caught.value)
