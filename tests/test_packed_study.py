"""The study that comes with the repository: whole, checked, and enough for every table and figure of the draft."""

import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness import pack
from harness.errors import StorageFault
from harness.recorded import results_file
from harness.report import read
from harness.report.paper.files import write
from harness.resources import resource

PACK = resource("studies/paper-smollm2.zip")


def test_it_is_the_study_of_its_file_run_to_its_end() -> None:
    found = harness.load(str(PACK))
    assert pack.verify(PACK).members["study.toml"] == resource("studies/paper-smollm2.toml").read_bytes()
    assert len(found.scores) == 2 * 13 * 29
    assert found.faults.empty
    assert not found.scores["quarantined"].any()
    assert set(found.scores["isolation"]) == {"docker"}
    people = found.scores[found.scores["author"] == "human"]
    assert set(people["status"]) == {"OK", "NA"}
    assert set(people.loc[people["status"] == "NA", "pruner"]) == {"bias", "negative_bias"}


def test_every_table_and_figure_of_the_draft_is_in_it(tmp_path: Path) -> None:
    write(read(results_file(str(PACK))), tmp_path)
    tables = {number: pd.read_csv(tmp_path / f"table{number}.csv", keep_default_na=False) for number in range(1, 7)}
    for number, columns in {1: 4, 2: 2, 3: 2}.items():
        here = [name for name in tables[number].columns if name.endswith("(here)")]
        assert len(here) == columns
        assert (tables[number][here] != "").all(axis=None), f"a hole in Table {number}"
    assert len(tables[4]) == 2 * 10
    assert "not finished" not in (tmp_path / "table4.md").read_text()
    assert len(tables[6]) == 2 * 14
    for number in (1, 2, 3):
        assert (tmp_path / f"figure{number}.png").stat().st_size > 20_000
        assert (tmp_path / f"figure{number}.pdf").read_bytes().startswith(b"%PDF")


def test_a_flipped_byte_is_found_and_named(tmp_path: Path) -> None:
    content = bytearray(PACK.read_bytes())
    with zipfile.ZipFile(PACK) as members:
        content[content.index(b"def prune(", members.getinfo("reference_pruners/wanda.py").header_offset)] ^= 1
    copy = tmp_path / "copy.zip"
    copy.write_bytes(content)
    with pytest.raises(StorageFault, match=re.escape("reference_pruners/wanda.py")):
        pack.verify(copy)
