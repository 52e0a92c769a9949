"""Standard input, as a terminal shows it with its colours, as an SVG picture: `harness ... | ... OUT.svg [TITLE]`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    """Write the picture, as wide as the longest line."""
    shown = Text.from_ansi(sys.stdin.read().rstrip("\n"))
    width = max(len(line) for line in shown.plain.splitlines()) + 1
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(shown)
    svg = console.export_svg(title=sys.argv[2] if len(sys.argv) > 2 else "harness")
    svg = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL)  # nothing is fetched to show it
    Path(sys.argv[1]).write_text(svg)


if __name__ == "__main__":
    main()
