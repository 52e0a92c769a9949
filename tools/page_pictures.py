"""Pictures of a report's pages for the docs: `page_pictures.py REPORT/html CANDIDATE OTHER docs/images`.

The leaderboard in light and in dark, the page of CANDIDATE, and CANDIDATE beside OTHER, as Chromium shows them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTH, HEIGHT = 1280, 900
_SETTLE_MILLISECONDS = 1500
"""For the charts, which are drawn after the page has loaded."""


def main(arguments: list[str]) -> None:
    """Make them."""
    html, candidate, other, into = Path(arguments[0]).resolve(), arguments[1], arguments[2], Path(arguments[3])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme, name in (("light", "page"), ("dark", "dark")):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)  # type: ignore[arg-type]
            page.goto((html / "index.html").as_uri())
            taken(page, into / f"{name}.png")
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto((html / "index.html").as_uri())
        page.locator("#search").fill(candidate)
        page.get_by_role("link", name=candidate, exact=True).first.click()
        taken(page, into / "candidate.png")
        page.goto((html / "compare.html").as_uri())
        page.locator("#first").select_option(label=candidate)
        page.locator("#second").select_option(label=other)
        taken(page, into / "compare.png")
        browser.close()


def taken(page: Page, path: Path) -> None:
    """What is seen without scrolling."""
    page.wait_for_timeout(_SETTLE_MILLISECONDS)
    page.screenshot(path=path)


if __name__ == "__main__":
    main(sys.argv[1:])
