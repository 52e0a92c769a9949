"""The notebooks, run as they stand on a small pack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from harness import packing
from harness.testing.fake_study import fake_study

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def code(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_no_output_is_kept() -> None:
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(notebook.read_text())["cells"]:
            assert cell.get("outputs", []) == []
            assert cell.get("execution_count") is None


def test_figure3_draws_every_pruner_of_a_pack_in_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("notebooks", "studies"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    packing.write(fake_study(tmp_path), Path("../studies/paper-smollm2.zip"))
    mpl.use("Agg")
    source = "\n".join(code(NOTEBOOKS / "figure3.ipynb"))
    names: dict[str, Any] = {}
    exec(compile(source, "figure3", "exec"), names)
    axes, shown = names["axes"], names["shown"]
    assert axes.get_yscale() == "log"
    curves = {line.get_label(): line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"}
    assert set(curves) == {"magnitude", "sample/l1-norm-pruning/01"}
    for pruner, points in curves.items():
        rows = shown[shown["pruner"] == pruner]
        assert points == rows[["ratio", "perplexity"]].to_numpy().tolist()
    names["figure"].draw_without_rendering()
    statements = [line for line in source.splitlines() if line and not line.startswith("    style")]
    assert len(statements) <= 10
