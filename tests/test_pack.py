"""Packs: the same bytes for the same study, everything in it, and no byte that can change unseen."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import DatasetCard
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import pack, packing
from harness.archive import archive
from harness.cli import cli, main
from harness.errors import InputFault, StorageFault, UsageError
from harness.names import slug
from harness.planning import plan
from harness.recorded import results_file
from harness.records import Completion
from harness.resources import cache_folder, resource
from harness.snapshot import snapshot
from harness.stages.idea import ideas
from harness.stages.prompt import render
from harness.store import Store
from harness.study import parse
from harness.testing.fake_study import TEXT, fake_study

CODE = "def prune(task):\n    pass\n"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results of a study in the current folder, with a candidate of its own and a pruner that is a file."""
    monkeypatch.chdir(tmp_path)
    idea = ideas()[0]
    completion = Completion(
        "o1", CODE, "stop", None, {}, {"choices": []}, latency_seconds=1.0, created="2026-01-01T00:00:00+00:00"
    )
    name = archive(render(idea), completion, Path("generated"), source=CODE).name
    Path("mine.py").write_text(CODE + "# mine\n")
    text = TEXT.replace('"magnitude"', f'"magnitude", "mine.py", "{name}"')
    return fake_study(Path("results/tiny"), text)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    return packing.write(fake_study(folder), folder / "tiny.zip").path


def test_the_same_study_gives_the_same_bytes_whatever_happened_before(study: Path) -> None:
    one = packing.write(study)
    assert one.path == Path("tiny.zip")
    assert one.sha256 == sha256(one.path.read_bytes()).hexdigest()
    with sqlite3.connect(study) as connection:  # rows at other places, free pages, another counter of changes
        rows = connection.execute("SELECT * FROM score").fetchall()
        connection.execute("DELETE FROM score")
        connection.executemany("INSERT INTO score VALUES (?, ?, ?, ?, ?, ?)", reversed(rows))
    connection.close()
    packing.write(study, Path("two.zip"))
    assert Path("two.zip").read_bytes() == one.path.read_bytes()


def test_a_running_study_is_packed_as_it_is_at_one_moment(study: Path) -> None:
    with Store(study) as running:
        running.connection.execute("BEGIN IMMEDIATE")
        for table in ("zeros", "origin", "score"):
            running.connection.execute(f"DELETE FROM {table}")
        content = snapshot(study)
        running.connection.execute("ROLLBACK")
        Path("copy.sqlite").write_bytes(content)
        with Store(Path("copy.sqlite"), create=False) as copy:
            assert copy.scores() == running.scores()
            assert copy.plan() == running.plan()
            assert copy.measurements() == running.measurements()
            assert copy.dense_losses("testbed-opt") == running.dense_losses("testbed-opt")


def test_a_pack_holds_everything(study: Path) -> None:
    packing.write(study, licence="cc-by-4.0")
    found = pack.verify(Path("tiny.zip"))
    names = set(found.members)
    own = f"generated/o1/{slug(ideas()[0].title)}/01"
    for folder, files in (
        (own, ("prompt.md", "completion.json", "pruner.py", "manifest.json")),
        ("generated/sample/l1-norm-pruning/01", ("prompt.md", "completion.json", "pruner.py", "manifest.json")),
        ("generated/sample/dynamic-pruning-with-reinforcement-learning/01", ("prompt.md", "completion.json")),
        ("data", ("scores.csv", "windows.csv", "protocols.csv", "faults.csv", "plan.csv")),
        (".", ("README.md", "results.sqlite", "manifest.json")),
    ):
        assert {str(Path(folder, file)) for file in files} <= names
    assert found.members[f"{own}/pruner.py"] == CODE.encode()
    manifest = found.manifest
    assert manifest["study"] == "tiny"
    assert manifest["counts"] == {"cells": 40, "scores": 40, "faults": 0, "pruners": 5}
    (mine,) = manifest["pruners"]["mine.py"]["files"]
    assert found.members[mine] == Path("mine.py").read_bytes()
    with Store(study) as store:
        recorded = store.plan()
    assert recorded is not None
    assert found.members["study.toml"].decode() == recorded.text
    for cell in recorded.cells:
        sources = [name for name in manifest["pruners"][cell.pruner]["files"] if name.endswith(".py")]
        digests = [manifest["members"][name]["sha256"] for name in sources]
        assert digests == ([] if cell.source_sha256 is None else [cell.source_sha256])


def test_an_unpacked_study_plans_the_same_cells(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packing.write(study)
    with Store(study) as store:
        recorded = store.plan()
    assert recorded is not None
    shutil.unpack_archive("tiny.zip", "elsewhere")
    shutil.copy("mine.py", "elsewhere")
    monkeypatch.chdir("elsewhere")
    assert tuple(plan(parse(Path("study.toml").read_text(), "study.toml"))) == recorded.cells


def test_the_card_is_a_dataset_card(study: Path) -> None:
    packing.write(study, licence="cc-by-4.0")
    members = pack.verify(Path("tiny.zip")).members
    card = DatasetCard(members["README.md"].decode())
    data = card.data
    assert (data.get("license"), data.get("pretty_name")) == ("cc-by-4.0", "tiny")
    configs = {config["config_name"]: config for config in data.get("configs")}
    assert set(configs) == {"scores", "windows", "layers", "protocols", "plan"}  # there are no faults
    assert all(config["data_files"] in members for config in configs.values())
    assert "40 of 40 cells have a result" in card.text
    assert "| `perplexity` | float64 |" in card.text


def test_the_hub_reads_the_folder_as_a_dataset(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    shutil.unpack_archive(packed, tmp_path / "tiny")
    rows = datasets.load_dataset(str(tmp_path / "tiny"), cache_dir=str(tmp_path / "cache"))["train"]
    assert rows.num_rows == 24
    assert set(rows["status"]) == {"OK", "TRUNCATED"}
    assert rows.features["perplexity"].dtype == "float64"


def change_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("others")
    folder.mkdir()
    (folder / "magnitude.py").write_text(CODE)
    monkeypatch.setattr(
        "harness.pruners.resource", lambda name: folder if name == "reference_pruners" else resource(name)
    )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (change_reference, UsageError, "the code of 'magnitude' is not what was run"),
        (lambda _: Path("mine.py").unlink(), UsageError, "no file 'mine.py'"),
        (lambda _: shutil.rmtree("generated"), UsageError, "no pruner 'o1/"),
        (lambda _: next(Path("generated").rglob("prompt.md")).write_text("x"), InputFault, "not as it was archived"),
        (lambda _: Path("tiny.zip").write_text("precious"), UsageError, "there is something already"),
    ],
)
def test_what_cannot_be_packed_is_refused(
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], object],
    error: type[Exception],
    words: str,
) -> None:
    change(monkeypatch)
    with pytest.raises(error, match=words) as caught:
        packing.write(study)
    assert "\n" not in str(caught.value)
    assert not Path("tiny.zip").exists() or Path("tiny.zip").read_text() == "precious"


def test_a_file_without_a_study_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "empty.sqlite").close()
    with pytest.raises(StorageFault, match="holds no study"):
        packing.write(tmp_path / "empty.sqlite", tmp_path / "x.zip")
    (tmp_path / "bad.sqlite").write_text("no database" * 100)
    with pytest.raises(StorageFault, match="cannot be copied"):
        packing.write(tmp_path / "bad.sqlite", tmp_path / "x.zip")


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(StorageFault) as caught:
        pack.verify(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_flipped_bit_is_found_and_its_member_named(packed: Path, tmp_path: Path) -> None:
    raw = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    for info in infos:
        begin = info.header_offset + 30 + len(info.filename)
        for offset in (info.header_offset + 10, info.header_offset + 31, begin, begin + info.file_size - 1):
            flipped = bytearray(raw)
            flipped[offset] ^= 1
            assert f"member {info.filename} is" in refused(tmp_path / "x.zip", bytes(flipped)), (info, offset)
    for offset in range(directory, len(raw), 7):
        flipped = bytearray(raw)
        flipped[offset] ^= 1
        refused(tmp_path / "x.zip", bytes(flipped))


@settings(deadline=None)
@given(st.data())
def test_no_change_of_a_pack_is_read(
    packed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = packed.read_bytes()
    place = st.one_of(st.integers(0, len(raw)), st.integers(len(raw) - 6000, len(raw)))  # the end has the directory
    begin = data.draw(place)
    end = min(len(raw), begin + data.draw(st.one_of(st.just(0), st.integers(1, 50), st.integers(0, len(raw)))))
    new = data.draw(st.one_of(st.binary(max_size=60), place.map(lambda start: raw[start : start + 300])))
    changed = raw[:begin] + new + raw[end:]
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    path.write_bytes(changed)
    if changed == raw:
        assert pack.verify(path).members
    else:
        with pytest.raises(StorageFault):
            pack.verify(path)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    refused(tmp_path_factory.getbasetemp() / "any.zip", content)


def zipped(members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> bytes:
    """A zip of these members and a manifest that fits them, as a forger would make it."""
    listed = members | {"results.sqlite": b"x"}
    manifest = {"format": 1, "members": pack.digests(listed)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted((listed | {"manifest.json": json.dumps(manifest).encode()}).items()):
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            if name in members:
                change(info)
            archive.writestr(info, content)
    return buffer.getvalue()


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def deflate(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_DEFLATED


def date(info: zipfile.ZipInfo) -> None:
    info.date_time = (2026, 1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped({"../x": b""}), "member '../x' has a name that no pack holds"),
        (zipped({"a/../../x": b""}), "member 'a/../../x' has a name"),
        (zipped({"/etc/passwd": b""}), "member '/etc/passwd' has a name"),
        (zipped({"C:\\x": b""}), "has a name that no pack holds"),
        (zipped({"a\\..\\x": b""}), "has a name that no pack holds"),
        (zipped({".ssh/x": b""}), "has a name that no pack holds"),
        (zipped({"a\x1b[2J": b""}), "has a name that no pack holds"),
        (zipped({"folder/": b""}), "has a name that no pack holds"),
        (zipped({"x": b"/etc/passwd"}, link), "member x is a link"),
        (zipped({"x": bytes(50_000_000)}, deflate), "larger than the file"),
        (zipped({"x": b"abc"}, deflate), "member x is compressed"),
        (zipped({"x": b"abc"}, date), "member x is not laid out"),
        (b"before" + zipped({"x": b"abc"}), "is not laid out"),
        (zipped({"x": b"abc"}) + b"after", "the table of contents is not laid out"),
        (pack.build({"results.sqlite": b"x"}), "member manifest.json is missing"),
        (pack.build({"manifest.json": b"{", "results.sqlite": b"x"}), "member manifest.json is no JSON"),
        (pack.build({"manifest.json": b"[" * 100_000, "results.sqlite": b"x"}), "member manifest.json is no JSON"),
        (pack.build({"manifest.json": b"[]", "results.sqlite": b"x"}), "no pack"),
        (pack.build({"manifest.json": b'{"format": 1, "members": {}}'}), "no pack"),
        (pack.build({"manifest.json": b'{"format": 2, "members": {}}', "results.sqlite": b"x"}), "of format 2"),
        (pack.build({"manifest.json": b'{"format": 1, "members": {}}', "results.sqlite": b"x"}), "not in the manifest"),
        (b"", "no zip file"),
    ],
)
def test_what_is_no_pack_is_refused_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    message = refused(tmp_path / "x.zip", content)
    assert words in message
    assert "\x1b" not in message


def test_a_well_formed_zip_with_a_member_more_or_less_is_refused(packed: Path, tmp_path: Path) -> None:
    members = dict(pack.verify(packed).members)
    more = pack.build(members | {"extra": b""})
    assert "member extra is not in the manifest" in refused(tmp_path / "x.zip", more)
    del members["study.toml"]
    assert "member study.toml is missing" in refused(tmp_path / "x.zip", pack.build(members))
    assert "member README.md is changed" in refused(
        tmp_path / "x.zip", pack.build(dict(pack.verify(packed).members) | {"README.md": b"other"})
    )


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        for _ in range(2):
            info = zipfile.ZipInfo("x")
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, b"1")
    assert "member x stands in it twice" in refused(tmp_path / "x.zip", (tmp_path / "y.zip").read_bytes())


def test_too_large_a_file_is_not_read(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_BYTES", 1 << 10)
    with pytest.raises(StorageFault, match="larger than"):
        pack.verify(packed)
    with pytest.raises(StorageFault, match="takes more than the"):
        packing.write(fake_study(tmp_path), tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def peak_bytes(path: Path) -> int:
    """What a refused pack takes of memory at most."""
    tracemalloc.start()
    try:
        with pytest.raises(StorageFault):
            pack.verify(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"1.5,", b'"abc",'])
@pytest.mark.parametrize("others", [1, 500])
def test_a_manifest_of_many_values_takes_no_memory(tmp_path: Path, piece: bytes, others: int) -> None:
    manifest = b"[" + piece * (4_000_000 // len(piece)) + b"1]"
    members = {f"x{number}": b"" for number in range(others)} | {"manifest.json": manifest, "results.sqlite": b"x"}
    (tmp_path / "x.zip").write_bytes(pack.build(members))
    assert "is too large for" in refused(tmp_path / "x.zip", (tmp_path / "x.zip").read_bytes())
    assert peak_bytes(tmp_path / "x.zip") < 4 * len(manifest)


def test_the_manifest_of_the_longest_names_fits(tmp_path: Path) -> None:
    for many in (1, 3000):
        members = {f"{number:05}{'x' * 250}": b"content" for number in range(many)} | {"results.sqlite": b"x"}
        listed = {f"p{number}": {"author": "human", "source_sha256": "0" * 64, "files": [name]} for number, name in
                  enumerate(members)}  # fmt: skip
        manifest = {"format": 1, "pruners": listed, "members": pack.digests(members)}
        members["manifest.json"] = json.dumps(manifest, indent=2).encode()
        (tmp_path / "x.zip").write_bytes(pack.build(members))
        assert len(pack.verify(tmp_path / "x.zip").members) == many + 2


@pytest.mark.parametrize("claimed", [1, 65_535])
def test_a_table_of_a_million_entries_is_refused_before_it_is_read(tmp_path: Path, claimed: int) -> None:
    table = (b"PK\1\2" + bytes(42)) * 200_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, claimed, claimed, len(table), 0, 0)
    assert "it holds more than 50000 members" in refused(tmp_path / "x.zip", table + end)
    assert peak_bytes(tmp_path / "x.zip") < 4 * len(table)


def test_another_table_behind_the_one_that_is_counted_is_refused(tmp_path: Path) -> None:
    """A zip64 record, or a comment, would have zipfile read a table elsewhere."""
    table = (b"PK\1\2" + bytes(42)) * 60_000
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 60_000, 60_000, len(table), 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(table), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 0, len(table), 0)
    for content in (table + record + locator + end, table + end[:-2] + b"\2\0ab"):
        assert "the table of contents is not laid out" in refused(tmp_path / "x.zip", content)
        assert peak_bytes(tmp_path / "x.zip") < 4 * len(table)


def test_results_are_taken_out_once_and_never_used_damaged(packed: Path) -> None:
    file = results_file(str(packed))
    assert file == cache_folder() / "packs" / sha256(packed.read_bytes()).hexdigest() / "results.sqlite"
    assert file.read_bytes() == pack.verify(packed).members["results.sqlite"]
    before = file.stat().st_mtime_ns
    assert results_file(str(packed)) == file
    assert file.stat().st_mtime_ns == before
    file.write_bytes(b"damaged")
    assert results_file(str(packed)).read_bytes() == pack.verify(packed).members["results.sqlite"]
    assert [one.name for one in file.parent.iterdir()] == ["results.sqlite"]


def test_results_that_would_run_something_are_refused(packed: Path, tmp_path: Path) -> None:
    members = dict(pack.verify(packed).members)
    for number, sql in enumerate(
        (
            "CREATE VIEW more AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x",
            "CREATE TRIGGER more AFTER INSERT ON score BEGIN DELETE FROM score; END",
            "CREATE VIRTUAL TABLE more USING fts5(x)",
        )
    ):
        database = tmp_path / f"{number}.sqlite"
        database.write_bytes(members["results.sqlite"])
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute(sql)
            connection.commit()
        forged = members | {"results.sqlite": database.read_bytes()}
        forged["manifest.json"] = json.dumps({"format": 1, "members": pack.digests(forged)}).encode()
        (tmp_path / "x.zip").write_bytes(pack.build(forged))
        found = pack.verify(tmp_path / "x.zip")
        with pytest.raises(StorageFault, match="other tables"):
            pack.results(found)
    forged = {"results.sqlite": b"no database" * 100}
    forged["manifest.json"] = json.dumps({"format": 1, "members": pack.digests(forged)}).encode()
    (tmp_path / "y.zip").write_bytes(pack.build(forged))
    found = pack.verify(tmp_path / "y.zip")
    with pytest.raises(StorageFault, match="no results file"):
        pack.results(found)


def test_the_commands(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = invoke("pack", "tiny", "--into", "shared.zip")
    digest = sha256(Path("shared.zip").read_bytes()).hexdigest()
    assert result.output == f"shared.zip: 40 of 40 cells have a result\nsha256 {digest}\n"
    assert f"sha256 {digest}" in invoke("verify", "shared.zip").output
    assert invoke("report", "shared.zip", "--out", "report").exit_code == 0
    assert "40 of 40 cells" in Path("report/leaderboard.md").read_text()
    damaged = bytearray(Path("shared.zip").read_bytes())
    damaged[1000] ^= 1
    Path("damaged.zip").write_bytes(damaged)
    for arguments, status in (
        (["verify", "damaged.zip"], 3),
        (["report", "damaged.zip"], 3),
        (["verify", "none.zip"], 2),
        (["report", "none.zip"], 2),
        (["pack", "none"], 2),
        (["pack", "tiny", "--into", "shared.zip"], 2),
        (["pack", "tiny", "--license", "my own"], 2),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == status, arguments
        assert capsys.readouterr().err.count("\n") == 1
