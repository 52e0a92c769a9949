"""The worker's words for each kind of error, and the host's decision about them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Bench
from harness.records import Execution, Failure, Limits, Sparsity
from harness.stages import sandbox_run
from harness.status import Status
from harness.testing.trusted_sandbox import TrustedSandbox
from sandbox.worker import REPORTED
from tests import forked_sandbox
from tests.conftest import pruner
from tests.forked_sandbox import ForkedSandbox

HALF = Sparsity.parse("0.5")

CASES = {
    "def prune(task:": "SYNTAX_ERROR",
    "x = " + "-" * 200_000 + "1\ndef prune(task): pass": "SYNTAX_ERROR",
    "\0": "SYNTAX_ERROR",
    "import sklearn_is_not_here\ndef prune(task): pass": "IMPORT_ERROR",
    "def prune(task):\n    import sklearn_is_not_here": "IMPORT_ERROR",
    "class Pruner:\n    def prune(self, task): pass": "INTERFACE_ERROR",
    "prune = 3": "INTERFACE_ERROR",
    "def prune(model, ratio): pass": "INTERFACE_ERROR",
    "def prune(): pass": "INTERFACE_ERROR",
    "async def prune(task): pass": "INTERFACE_ERROR",
    "def prune(task):\n    yield 1": "INTERFACE_ERROR",
    "raise ValueError('at import')": "RUNTIME_ERROR",
    "def prune(task):\n    for l in task.layers(): l.weight @ l.weight[:3]": "RUNTIME_ERROR",
    "def prune(task): raise BaseException('base')": "RUNTIME_ERROR",
    "def prune(task): raise KeyboardInterrupt": "RUNTIME_ERROR",
    "class E(Exception):\n    def __str__(self): raise self\ndef prune(task): raise E()": "RUNTIME_ERROR",
    "class E(Exception):\n    def __str__(self): return 'x' * 10**8\ndef prune(task): raise E()": "RUNTIME_ERROR",
    "def prune(task): raise NotApplicable('no biases')": "NA",
    "from sandbox.interface import NotApplicable\ndef prune(task): raise NotApplicable": "NA",
    "from interface import NotApplicable\ndef prune(task): raise NotApplicable": "NA",
    "def prune(task): raise task.NotApplicable": "NA",
    "def prune(task): raise MemoryError": "RESOURCE_LIMIT",
    "import torch\ndef prune(task): torch.empty(10**15)": "RESOURCE_LIMIT",
    "def prune(task): raise OSError(28, 'No space left on device')": "RESOURCE_LIMIT",
    "import sys\ndef prune(task): sys.exit(0)": "EXITED",
    "import os\ndef prune(task): os._exit(0)": "EXITED",
    "import os\nos._exit(10)": "EXITED",
    "import os, signal\ndef prune(task): os.kill(os.getpid(), signal.SIGSEGV)": "CRASHED",
    "import os, signal\ndef prune(task): os.kill(os.getpid(), signal.SIGXCPU)": "RESOURCE_LIMIT",
    "def prune(task): next(task.layers()).weight = next(task.layers()).weight[:2]": "BAD_OUTPUT",
    "def prune(task): next(task.layers()).weight.data = task.calibration": "BAD_OUTPUT",
    "def prune(task): next(task.layers()).keep(task.calibration)": "BAD_OUTPUT",
    "def prune(task): del task.model.model.layers[0].mlp.up_proj": "BAD_OUTPUT",
    "def prune(task): pass": "SPARSITY_MISSED",
    "class M(type):\n    __name__ = property(lambda c: 1 / 0)\nclass E(Exception, metaclass=M): pass\n"
    "def prune(task): raise E()": "RUNTIME_ERROR",
    "class S(str):\n    def __getitem__(self, i): return 3\nclass E(Exception):\n    def __str__(self): return S('x')\n"
    "def prune(task): raise E()": "RUNTIME_ERROR",
    "import sys, types\nclass M(types.ModuleType):\n    def __getattribute__(self, n): raise KeyError(n)\n"
    "sys.modules['pruner'].__class__ = M\ndef prune(task): raise ValueError": "RUNTIME_ERROR",
    "class P:\n    @property\n    def __signature__(self): raise OSError\n    def __call__(self, t): pass\n"
    "prune = P()": "RUNTIME_ERROR",
    "import json\njson.dumps = None\ndef prune(task): raise ValueError": "RUNTIME_ERROR",
}


def test_a_forker_that_was_interrupted_or_died_is_started_again(llama_bench: Bench) -> None:
    bench = replace(llama_bench, sandbox=ForkedSandbox())
    fine = pruner("def prune(task):\n    for l in task.layers(): l.weight[:, ::2] = 0")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("select.select", interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.score(fine, HALF)
    assert bench.score(fine, HALF).status == "OK"
    assert forked_sandbox._FORKER._process is not None
    os.kill(forked_sandbox._FORKER._process.pid, signal.SIGKILL)
    forked_sandbox._FORKER._process.wait()
    assert bench.score(fine, HALF).status == "OK"


@pytest.mark.parametrize("sandbox", [TrustedSandbox(), ForkedSandbox()])
def test_a_child_of_either_kind_ends_alike(llama_bench: Bench, sandbox: TrustedSandbox) -> None:
    bench = replace(llama_bench, sandbox=sandbox)
    sources = {
        "import os\ndef prune(task): os.kill(os.getpid(), 9)": "CRASHED",
        "def prune(task): 1 / 0": "RUNTIME_ERROR",
        "def prune(task): input()": "RUNTIME_ERROR",
        "import os, sys\ndef prune(task):\n    print(os.environ['A_TEST'])\n    sys.exit(3)": "EXITED",
        "def prune(task):\n    for l in task.layers(): l.weight[:, ::2] = 0": "OK",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_TEST", "seen")
        assert {source: bench.score(pruner(source), HALF).status for source in sources} == sources
    hurried = replace(bench, limits=Limits(timeout_seconds=5))
    assert hurried.score(pruner("def prune(task):\n    while True: pass"), HALF).status == "TIMEOUT"


@pytest.mark.parametrize("source", CASES, ids=lambda source: source[:40])
def test_each_kind_of_error_has_its_status(source: str, llama_bench: Bench) -> None:
    score = llama_bench.score(pruner(source), HALF)
    assert score.status == CASES[source], score.error
    assert score.perplexity is None
    assert score.error is not None
    assert len(score.error.message) <= 2000
    json.dumps(score.to_json(), allow_nan=False)


def test_the_line_and_the_traceback_are_the_files_own(llama_bench: Bench) -> None:
    source = "import torch\n\ndef prune(task):\n    for layer in task.layers():\n        check(layer)\n\n"
    source += "def check(layer):\n    assert layer.weight.shape[0] == 3, 'rows'\n"
    error = llama_bench.score(pruner(source), HALF).error
    assert error is not None
    assert (error.stage, error.type, error.message, error.line) == ("run", "AssertionError", "rows", 8)
    assert error.traceback is not None
    assert error.traceback.count("pruner.py") == 2
    assert "worker.py" not in error.traceback
    syntax = llama_bench.score(pruner("def prune(task):\n    return (\n"), HALF).error
    assert syntax is not None
    assert (syntax.stage, syntax.type, syntax.line) == ("source", "SyntaxError", 2)


@pytest.mark.parametrize(
    ("execution", "complete", "report", "status"),
    [
        (Execution(0, None, False, False, 1.0), True, {}, None),
        (Execution(0, None, False, True, 1.0), True, {"kind": "NA"}, None),  # a child was killed, the parent ended well
        (Execution(0, None, False, False, 1.0), False, {}, Status.EXITED),
        (Execution(0, None, False, False, 1.0), False, {"kind": "NA"}, Status.EXITED),
        (Execution(137, None, False, True, 1.0), True, {}, Status.OUT_OF_MEMORY),
        (Execution(None, 9, False, True, 1.0), False, {}, Status.OUT_OF_MEMORY),
        (Execution(None, 9, False, False, 1.0), True, {}, Status.CRASHED),
        (Execution(None, 11, False, False, 1.0), False, {}, Status.CRASHED),
        (Execution(None, 24, False, False, 1.0), False, {}, Status.RESOURCE_LIMIT),
        (Execution(None, None, True, False, 9.0), True, {"kind": "NA"}, Status.TIMEOUT),
        (Execution(REPORTED, None, False, False, 1.0), False, {"kind": "NA"}, Status.NA),
        (Execution(REPORTED, None, False, False, 1.0), True, {"kind": "RUNTIME_ERROR"}, Status.RUNTIME_ERROR),
        (Execution(REPORTED, None, False, False, 1.0), False, {"kind": "OK"}, Status.EXITED),
        (Execution(REPORTED, None, False, False, 1.0), False, {"kind": "INFRA_SANDBOX"}, Status.EXITED),
        (Execution(REPORTED, None, False, False, 1.0), False, {"kind": ["NA"]}, Status.EXITED),
        (Execution(125, None, False, False, 1.0), False, {}, Status.EXITED),
    ],
)
def test_the_host_decides_by_what_it_saw(
    execution: Execution, complete: bool, report: dict[str, object], status: Status | None
) -> None:
    assert sandbox_run._status(execution, Limits(), complete, report)[0] is status


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff", b"[" * 60_000, b'"text"', b"{", b'{"kind": NaN}', b"1" * 5000],
)
def test_a_forged_report_is_no_report_or_harmless(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_bytes(text)
    with path.open("rb") as file:
        assert isinstance(sandbox_run._report(file.fileno()), dict)


def test_forged_words_are_bounded() -> None:
    report = {"type": "T" * 10**5, "message": "\ud800" + "m" * 10**5, "traceback": "t" * 10**5, "line": 10**30}
    failure = sandbox_run._reported(Status.RUNTIME_ERROR, report)
    assert failure == Failure("run", "T" * 200, "?" + "m" * 1999, None, "t" * 8000)
    assert sandbox_run._reported(Status.NA, {"message": 3, "line": True, "type": []}).message == ""


def test_a_deadline_is_a_timeout(llama_bench: Bench) -> None:
    hurried = replace(llama_bench, limits=Limits(timeout_seconds=1))
    score = hurried.score(pruner("def prune(task):\n    while True: pass"), HALF)
    assert (score.status, score.outcome) == ("TIMEOUT", "Error")
    assert score.error is not None
    assert score.error.message == "not done after 1 s"


def test_the_run_is_repeatable(llama_bench: Bench) -> None:
    source = "import random, torch, numpy\ndef prune(task):\n    for l in task.layers():\n"
    source += (
        "        l.weight = torch.full_like(l.weight, random.random() + float(torch.rand(())) + numpy.random.rand())"
    )
    source += "\n        l.weight[:, ::2] = 0"
    first, second = (llama_bench.score(pruner(source), HALF) for _ in range(2))
    assert first.status == "OK", first.error
    assert first.window_losses == second.window_losses
