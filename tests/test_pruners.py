"""Pruners by name, and the archive: complete or not there, and never changed unnoticed."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import archive, pruners
from harness.errors import InputFault, StorageFault, UsageError
from harness.records import Completion, Pruner
from harness.resources import resource
from harness.stages.idea import find_idea
from harness.stages.prompt import render
from harness.status import Status

CODE = "def prune(task):\n    pass\n"
PROMPT = render(find_idea("l1 norm pruning"))


def completion(model: str = "o1") -> Completion:
    return Completion(model, CODE, "stop", None, {"body": {"model": model}}, {"model": f"{model}-x", "usage": {"t": 1}},
                      1.5, "2026-01-01T00:00:00+00:00")  # fmt: skip


def keep(root: Path, source: str | None = CODE, model: str = "o1", **options: Any) -> Pruner:
    return archive.archive(PROMPT, completion(model), root, source=source, **options)


def test_an_attempt_is_four_files(tmp_path: Path) -> None:
    pruner = keep(tmp_path)
    folder = tmp_path / "o1" / "l1-norm-pruning" / "01"
    assert sorted(file.name for file in folder.iterdir()) == [
        "completion.json", "manifest.json", "prompt.md", "pruner.py"]  # fmt: skip
    assert [file.name for file in folder.parent.iterdir()] == ["01"]
    assert pruner == Pruner(
        "o1/l1-norm-pruning/01", "model", CODE.encode(), folder / "pruner.py", "l1-norm-pruning", "o1", "one-pass"
    )
    assert (folder / "prompt.md").read_text() == PROMPT.text
    assert json.loads((folder / "completion.json").read_text()) == {
        "request": {"body": {"model": "o1"}},
        "response": {"model": "o1-x", "usage": {"t": 1}},
        "latency_seconds": 1.5,
        "created": "2026-01-01T00:00:00+00:00",
    }
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["resolved_model"] == "o1-x"
    assert manifest["usage"] == {"t": 1}
    assert manifest["template_sha256"] == PROMPT.template_sha256
    assert set(manifest["files"]) == {"prompt.md", "completion.json", "pruner.py"}
    for key in ("interface_sha256", "harness_version", "created", "provenance", "finish_reason", "sample", "idea"):
        assert manifest[key]


def test_an_attempt_without_code(tmp_path: Path) -> None:
    pruner = keep(tmp_path, None, status=Status.NO_CODE, message="the answer holds no Python code")
    assert pruner.source is None
    assert pruner.path is None
    assert pruner.status is Status.NO_CODE
    assert pruner.message == "the answer holds no Python code"
    assert not (tmp_path / pruner.name / "pruner.py").exists()
    assert archive.load(pruner.name, [tmp_path]) == pruner


def test_samples_are_numbered_also_beside_other_writers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: keep(tmp_path).name, range(40)))
    assert sorted(names) == [f"o1/l1-norm-pruning/{n:02d}" for n in range(1, 41)]
    assert pruners.candidates([tmp_path]) == sorted(names)
    for name in names:
        assert pruners.find(name, [tmp_path]).name == name


def test_a_gap_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "o1" / "l1-norm-pruning" / "07").mkdir(parents=True)
    assert keep(tmp_path).name == "o1/l1-norm-pruning/08"


def test_model_names_become_folders(tmp_path: Path) -> None:
    assert keep(tmp_path, model="../openai/GPT-4.1").name == "openai-gpt-4.1/l1-norm-pruning/01"


def test_what_is_half_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StorageFault, match="No space left"):
        keep(tmp_path)
    assert list((tmp_path / "o1" / "l1-norm-pruning").iterdir()) == []
    (tmp_path / "o1" / "l1-norm-pruning" / ".0a.partial").mkdir()
    assert pruners.candidates([tmp_path]) == []


@pytest.mark.parametrize("name", ["prompt.md", "completion.json", "pruner.py"])
def test_a_changed_or_missing_file_is_noticed(name: str, tmp_path: Path) -> None:
    pruner = keep(tmp_path)
    file = tmp_path / pruner.name / name
    original = file.read_bytes()
    file.write_bytes(original + b" ")
    with pytest.raises(InputFault, match=f"{name} is not as it was archived"):
        pruners.find(pruner.name, [tmp_path])
    file.unlink()
    with pytest.raises(InputFault, match=f"{name} is missing"):
        pruners.find(pruner.name, [tmp_path])
    file.write_bytes(original)
    assert pruners.find(pruner.name, [tmp_path]) == pruner


def test_code_that_was_added_is_noticed(tmp_path: Path) -> None:
    pruner = keep(tmp_path, None, status=Status.NO_CODE, message="none")
    (tmp_path / pruner.name / "pruner.py").write_text(CODE)
    with pytest.raises(InputFault, match="not in the manifest"):
        pruners.find(pruner.name, [tmp_path])


def test_a_moved_folder_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / keep(tmp_path).name
    folder.rename(folder.with_name("02"))
    with pytest.raises(InputFault, match="archived as 'o1/l1-norm-pruning/01'"):
        pruners.find("o1/l1-norm-pruning/02", [tmp_path])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 10000,
        '{"files": {}}',
        b"\xff",
        {"status": "FINE"},
        {"status": []},
        {"files": {"../x": "0"}},
        {"files": {"prompt.md": 1}},
        {"idea": "x"},
        {"id": 1},
    ],
    ids=str,
)
def test_a_broken_manifest_is_one_line(text: str | bytes | dict[str, Any], tmp_path: Path) -> None:
    manifest = tmp_path / keep(tmp_path).name / "manifest.json"
    if isinstance(text, dict):
        text = json.dumps(json.loads(manifest.read_text()) | text)
    manifest.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputFault) as caught:
        pruners.find("o1/l1-norm-pruning/01", [tmp_path])
    assert "\n" not in str(caught.value)


def test_references_are_found_with_both_separators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_words.py").write_text(CODE)
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(pruners, "resource", lambda name: tmp_path)
    assert pruners.references() == ["two_words"]
    for name in ("two_words", "two-words", "Two-Words"):
        assert pruners.find(name) == Pruner("two_words", "human", CODE.encode(), tmp_path / "two_words.py")


def test_a_path_is_a_persons_pruner_under_the_name_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(CODE)
    assert pruners.find("./mine.py") == Pruner("./mine.py", "human", CODE.encode(), Path("mine.py"))


def test_a_path_into_the_archive_is_a_models(tmp_path: Path) -> None:
    pruner = keep(tmp_path)
    typed = str(tmp_path / pruner.name / "pruner.py")
    assert (pruners.find(typed).name, pruners.find(typed).author) == (typed, "model")
    assert pruners.find(str(tmp_path / pruner.name)) == pruner


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"#" * (1 << 20), None),
        (b"#" * ((1 << 20) + 1), Status.REJECTED_SOURCE),
        (b"\xff\xfe", Status.REJECTED_SOURCE),
        (b"", None),
    ],
    ids=["1 MiB", "more", "no UTF-8", "empty"],
)
def test_size_and_encoding(content: bytes, status: Status | None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(content)
    pruner = pruners.find(str(tmp_path / "mine.py"))
    assert pruner.status is status
    assert pruner.source == (None if status else content)
    assert bool(pruner.message) == bool(status)


def test_unknown_pruners_name_near_ones(tmp_path: Path) -> None:
    keep(tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'o1/l1-norm-pruning/01'"):
        pruners.find("o1/l1-norm-prunning/01", [tmp_path])


@pytest.mark.parametrize(
    "name", ["", "nothing", "../../etc/passwd", "no.py", "a" * 5000, "a" * 5000 + ".py", "/dev/zero", "\x1b[2J"]
)
def test_unknown_pruners(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        pruners.find(name)
    assert len(str(caught.value)) < 500


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError):
        pruners.find(str(tmp_path / "folder.py"))


def test_bundled_samples_are_whole_and_labelled() -> None:
    expected = json.loads(resource("generated/sample/expected.json").read_text())
    names = [name for name in pruners.candidates() if name.startswith("sample/")]
    assert names == sorted(f"sample/{slug}/01" for slug in expected)
    for name in names:
        pruner = pruners.find(name)
        status = expected[name.split("/")[1]]
        assert (pruner.status is None) == (pruner.source is not None)
        assert pruner.status is None or pruner.status == status
        assert status in {*Status}
        manifest = archive.read_manifest(resource("generated") / name)
        assert "written for this repository; not the output of any language model" in manifest["provenance"]
