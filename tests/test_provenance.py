"""What a number was measured with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness import provenance
from harness.testing.fake_bench import FakeLab


@pytest.fixture(autouse=True)
def forgotten() -> None:
    provenance._commit.cache_clear()


def test_a_record_is_of_this_machine_and_this_program() -> None:
    found = provenance.environment("bubblewrap", "cpu")
    assert json.loads(json.dumps(found)) == found
    assert found["libraries"]["torch"] == torch.__version__.partition("+")[0]
    assert found["python"] == sys.version.split()[0]
    assert (found["isolation"], found["image"], found["device"]) == ("bubblewrap", None, "cpu")
    assert found["memory_bytes"] > 1 << 28
    assert provenance.identity(found) == provenance.identity(dict(reversed(list(found.items()))))
    assert provenance.identity(found) != provenance.identity({**found, "threads": 99})


@pytest.mark.docker
def test_of_docker_the_image_is_in_it() -> None:
    assert provenance.environment("docker", "cpu")["image"].startswith("sha256:")


def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", *user, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    package = tmp_path / "harness"
    package.mkdir()
    assert provenance._commit(package) == (None, None)
    git("init", "-q")
    (package / "file").write_text("one")
    git("add", ".")
    git("commit", "-qm", "first")
    provenance._commit.cache_clear()
    assert provenance._commit(package) == (git("rev-parse", "HEAD"), False)
    (package / "file").write_text("two")
    provenance._commit.cache_clear()
    assert provenance._commit(package) == (git("rev-parse", "HEAD"), True)


def test_a_study_files_it_with_every_score(tmp_path: Path) -> None:
    from harness.store import Store
    from harness.study import parse
    from harness.study_run import run

    study = parse('name = "s"\ntargets = ["t"]\nsparsities = [0.5]\npruners = ["magnitude", "bias"]\n', "s.toml")
    with Store(tmp_path / "results.sqlite") as store:
        run(study, store, FakeLab().open_bench)
        (name,) = store.environments()
        assert {origin.environment for origin in store.origins().values()} == {name}
        assert set(store.origins()) == {("t", "0.5", "magnitude"), ("t", "0.5", "bias")}
