"""Results -> the draft's tables and figures, beside the draft's own numbers, as files."""

from __future__ import annotations

from pathlib import Path

from harness import atomic
from harness.drawing import to_pdf, to_png
from harness.report.names import displayed
from harness.report.paper import figures
from harness.report.paper.table import Table, as_csv, as_latex, as_markdown
from harness.report.paper.tables import tables
from harness.report.results import Results
from harness.stages.leaderboard import markdown

__all__ = ["write"]

_DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[margin=2.5cm]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
"""


def write(results: Results, folder: Path) -> list[Path]:
    """Write Tables 1 to 6 (Markdown, CSV, LaTeX) and Figures 1 to 3 (PNG, PDF), and what shows them all.

    Returns the paths of the files, those to begin with first: `README.md`, and `paper.tex`, which LaTeX can typeset.

    Raises:
        StorageFault: the folder cannot be written.
    """
    results = displayed(results)
    found = tables(results)
    numbers = sorted({table.number for table in found})
    contents = {"README.md": _overview(results, found), "paper.tex": _typesettable(numbers)}
    for number in numbers:
        same = [table for table in found if table.number == number]
        contents[f"table{number}.md"] = "\n".join(map(as_markdown, same))
        contents[f"table{number}.csv"] = as_csv(same)
        contents[f"table{number}.tex"] = "\n".join(map(as_latex, same))
    files = {name: text.encode() for name, text in contents.items()}
    for number in figures.CAPTIONS:
        figure = figures.draw(number, results)
        files |= {f"figure{number}.png": to_png(figure), f"figure{number}.pdf": to_pdf(figure)}
    for name, content in files.items():
        atomic.write(folder / name, content)
    return [folder / name for name in files]


def _overview(results: Results, found: list[Table]) -> str:
    pictures = [
        f"## Figure {number}: {caption}\n\n![Figure {number}](figure{number}.png)\n"
        for number, caption in figures.CAPTIONS.items()
    ]
    notices = "".join(f"- {line}\n" for line in results.notices())
    head = f"# {markdown(results.name)}: the draft's tables and figures\n\n{notices}"
    return "\n".join([head, *map(as_markdown, found), *pictures])


def _typesettable(numbers: list[int]) -> str:
    inputs = "".join(
        f"\\renewcommand{{\\thetable}}{{{number}\\alph{{table}}}}\\setcounter{{table}}{{0}}\n\\input{{table{number}}}\n"
        "\\clearpage\n"
        for number in numbers
    )
    floats = "".join(
        f"\\begin{{figure}}[tbp]\n\\centering\n\\includegraphics[width=\\linewidth,height=0.92\\textheight,keepaspectratio]{{figure{number}.pdf}}\n"
        f"\\end{{figure}}\n"
        for number in figures.CAPTIONS
    )
    return f"{_DOCUMENT}{inputs}{floats}\\end{{document}}\n"
