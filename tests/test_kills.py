"""An engine that is killed in the middle of a study: the program in benchmarks/ that shows that it harms nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from benchmarks.killed_study import Kill, Trial
from benchmarks.own_engine import OwnEngine, lacks
from harness.records import Limits
from harness.sandboxes import image
from harness.sandboxes.docker import DockerSandbox
from tests.sandbox_runs import containers, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.skipif(lacks() is not None, reason=lacks() or "")]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnEngine]:
    with OwnEngine(tmp_path, image.image_tag(), docker.from_env()) as engine:
        yield engine
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_an_engine_that_is_killed_harms_no_study(own: OwnEngine, tmp_path: Path) -> None:
    seen: list[Kill] = []
    trial = Trial(tmp_path, own, ["magnitude", "kills_itself", "misses"], ["0.5"])
    found = trial.disturbed(2, seed=0, span=trial.undisturbed(), notice=seen.append)
    assert found.cells == 3
    assert seen == found.kills
    assert [kill.containerd for kill in seen] == [False, True]
    assert all(kill.containers for kill in seen)
    assert found.resumptions >= 1
    assert not any(found.harm().values()), (found.harm(), found.different)


def test_a_container_that_a_killed_engine_kept_is_removed_later(
    own: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", own.address)
    limits = Limits(timeout_seconds=60, memory_bytes=256 << 20, threads=1)
    sandbox = DockerSandbox(command=("-P", "-c", "pass"))
    sandbox.warm([], limits, 1000)
    assert wait_for(containers)
    own.kill(containerd=False)
    sandbox._waiting[0].name()  # it has met the dead engine
    own.start()
    assert containers(), "nobody could remove it"
    assert sandbox.execute([], limits, 1000).exit_code == 0
    sandbox.cool()
    assert containers() == []
