"""The pages in a real browser: they work from disk and offline, are usable by all, and show hostile text as text."""

import json
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import vl_convert
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from harness import pruners, report
from harness.console import plain
from harness.records import Failure, Score, Sparsity
from harness.report.attempts import Attempt
from harness.report.page import charts
from harness.report.page.candidate import context
from harness.report.page.code import highlighted
from harness.report.page.data import as_json
from harness.report.server import PageServer
from harness.standings import NAME_CHARACTERS
from harness.status import Status
from harness.store import Cell, Plan, Store
from harness.testing.fake_bench import FakeLab, fake_pruner, fake_score

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None and not os.environ.get("HARNESS_REQUIRE_BROWSER"):
    pytest.skip("no Chromium is installed", allow_module_level=True)
SWITCHES = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SWITCHES += ["--disable-component-update", "--disable-sync"]
EVIL = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\u202e'\"{{ 7*7 }}`${window.hacked=1}`"
EVIL_NAME = plain(f"o1/{EVIL}", NAME_CHARACTERS)
LEVELS = ("0.1", "0.5", "0.6", "0.9", "2:4")
NAMES = ("magnitude", "wanda", "sample/l1-norm-pruning/01", "o1/random-pruning/01")


def evil_scores() -> list[Score]:
    error = Failure("run", EVIL, EVIL, line=1, traceback=EVIL)
    failed = fake_score(f"o1/{EVIL}", status=Status.RUNTIME_ERROR, author="model", error=error, idea=EVIL, model=EVIL)
    words: dict[str, Any] = {"notes": (EVIL,), "text": EVIL, "idea": "x", "model": "__proto__"}
    fine = fake_score("=cmd|' /C calc'!A0", author="model", isolation="bubblewrap", **words)
    return [failed, fine]


def results(folder: Path, extra: list[Score] | None = None) -> Path:
    path = folder / "results.sqlite"
    bench = FakeLab().open_bench("testbed-llama", text="University is")
    scores = [bench.score(fake_pruner(name), Sparsity.parse(level)) for level in LEVELS for name in NAMES]
    scores += extra or []
    source = pruners.find("sample/l1-norm-pruning/01").source
    digests = {"sample/l1-norm-pruning/01": _sha256(source), "wanda": _sha256(pruners.find("wanda").source)}
    cells = [Cell(score.target, score.sparsity, score.pruner, digests.get(score.pruner)) for score in scores]
    with Store(path) as store:
        store.save_plan(Plan("study", "", {"text": "University is"}, "docker", tuple(cells)))
        store.add_measurement("testbed-llama", bench.measurement, bench.dense_losses)
        for cell, score in zip(cells, scores, strict=True):
            store.add_environment("one", {"harness": "0.1", "commit": "abcdef" * 7, "dirty": True, "processor": EVIL})
            store.add_score(cell, score, "one")
    return path


def _sha256(content: bytes | None) -> str:
    return sha256(content or b"").hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    report.write(results(path, evil_scores()))
    return path / "report" / "html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


class Tab:
    """A page with what it asked for and complained of."""

    def __init__(self, browser: Browser, scheme: str = "light") -> None:
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path, fragment: str = "", chart: bool = True) -> Page:
        self.page.goto("about:blank")
        self.page.goto(path.as_uri() + fragment)
        if chart:
            self.page.wait_for_selector("#curves-chart svg, #curves-chart p")
        return self.page


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    tab = Tab(browser)
    yield tab
    assert tab.page.evaluate("window.hacked") is None
    assert tab.complaints == []
    assert {url.partition(":")[0] for url in tab.requests} <= {"file", "data", "about"}
    tab.page.close()


def pruner_page(folder: Path, name: str) -> Path:
    study = json.loads((folder / "data.js").read_text().removeprefix("window.STUDY = ").removesuffix(";\n"))
    page = next(pruner["page"] for pruner in study["pruners"] if pruner["name"] == name)
    assert isinstance(page, str)
    return folder / page


def names(page: Page) -> list[str]:
    return page.locator("#board tbody th").all_inner_texts()


def test_the_leaderboard_is_sorted_filtered_and_searched(folder: Path, tab: Tab) -> None:
    page = tab.open(folder / "index.html")
    page.select_option("#sparsity", "0.5")
    assert len(names(page)) == 6
    page.get_by_role("button", name="perplexity", exact=True).click()
    rising = [text for text in page.locator("#board tbody td:nth-child(7)").all_inner_texts() if text]
    assert rising == sorted(rising, key=lambda text: float(text.replace(",", "")))
    page.get_by_role("button", name="perplexity", exact=True).click()
    falling = [text for text in page.locator("#board tbody td:nth-child(7)").all_inner_texts() if text]
    assert falling == rising[::-1]
    assert page.locator("#board th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.fill("#search", "l1-norm")
    assert names(page) == ["sample/l1-norm-pruning/01"]
    page.fill("#search", "")
    page.select_option("#author", "human")
    assert set(names(page)) == {"magnitude", "wanda"}
    page.select_option("#author", "")
    page.select_option("#isolation", "bubblewrap")
    assert len(names(page)) == 1
    page.select_option("#isolation", "")
    page.select_option("#author", "human")
    page.select_option("#sparsity", "")
    assert len(names(page)) == 2 * len(LEVELS)
    address = page.url
    page.get_by_role("button", name="Reset").click()
    assert page.locator("#author").input_value() == ""
    page.goto("about:blank")
    page.goto(address)
    assert len(names(page)) == 2 * len(LEVELS)
    expect(page.locator("#count")).to_contain_text("10 of")


def test_the_curves_follow_the_filter(folder: Path, tab: Tab) -> None:
    page = tab.open(folder / "index.html")
    assert page.locator("#curves-chart svg").count() == 1
    page.select_option("#author", "human")
    expect(page.locator("#curves-chart")).not_to_contain_text("o1/random-pruning/01")
    expect(page.locator("#curves-chart")).to_contain_text("wanda")


def test_a_candidate_s_page_has_its_code_prompt_layers_masks_texts_and_results(folder: Path, tab: Tab) -> None:
    page = tab.open(folder / "index.html")
    page.get_by_role("link", name="sample/l1-norm-pruning/01").first.click()
    page.wait_for_selector("#heat-chart svg")
    source = pruners.find("sample/l1-norm-pruning/01").source
    assert source is not None
    assert page.locator("pre.code").inner_text().strip() == source.decode().strip()
    assert page.locator("pre.code .k").count() > 3
    assert page.locator("#own tbody tr").count() == len(LEVELS)
    expect(page.locator("main")).to_contain_text("Masks like those of the references")
    expect(page.locator("main")).to_contain_text("University is a place at 0.5")
    expect(page.locator("main")).to_contain_text("harness 0.1, commit abcdefabcdef with changes")
    expect(page.locator("main")).to_contain_text("not the output of any language model")
    page.select_option("#heat", "1")
    page.get_by_text("The completion, as it came").click()
    expect(page.locator("details pre")).to_contain_text("```python")
    page.get_by_role("link", name="The prompt, as it was sent").click()
    expect(page.locator("pre")).to_contain_text("L1 Norm Pruning")


def test_two_are_compared_as_the_table_of_comparisons_does(folder: Path, tab: Tab) -> None:
    fragment = "#first=wanda&second=sample%2Fl1-norm-pruning%2F01"
    page = tab.open(folder / "compare.html", fragment)
    rows = page.locator("#pairs tbody tr")
    assert rows.count() == len(LEVELS)
    frame = pd.read_csv(folder.parent / "comparisons.csv")
    both = ["wanda", "sample/l1-norm-pruning/01"]
    here = (frame["sparsity"].astype(str) == "0.9") & frame["first"].isin(both) & frame["second"].isin(both)
    (one,) = frame[here].to_dict("records")
    turned = one["first"] != "wanda"
    ratio = 1 / one["ratio"] if turned else one["ratio"]
    shown = rows.filter(has_text="0.9").last.locator("td").all_inner_texts()
    assert float(shown[2]) == pytest.approx(ratio, abs=6e-4)
    winner = "cannot be told apart" if one["better"] == "tie" else one[one["better"]]
    assert shown[-1] == winner
    assert "keep" in page.locator("#first-code").inner_text()
    assert page.locator("#first-code mark").count() > 3
    page.select_option("#second", "wanda")
    assert page.locator("#first-code mark").count() == 0


def test_the_theme_is_kept(folder: Path, tab: Tab) -> None:
    page = tab.open(folder / "index.html")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    button = page.get_by_role("button", name="Dark mode")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_an_accessibility_violation(folder: Path, browser: Browser, scheme: str) -> None:
    tab = Tab(browser, scheme)
    evil = pruner_page(folder, EVIL_NAME)
    for path in (folder / "index.html", folder / "compare.html", pruner_page(folder, "wanda"), evil):
        page = tab.open(path)
        found: dict[str, Any] = Axe().run(page, options={"preload": False}).response
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == [], path.name
    tab.page.close()


def test_hostile_text_is_shown_and_nothing_else(folder: Path, tab: Tab) -> None:
    page = tab.open(folder / "index.html")
    page.select_option("#sparsity", "0.5")
    assert any("<script>window.hacked=1</script>" in name for name in names(page))
    page = tab.open(pruner_page(folder, EVIL_NAME))
    expect(page.locator(".fault").first).to_contain_text("<img src=x onerror=window.hacked=1>")
    expect(page.locator("h1")).to_contain_text("{{ 7*7 }}")
    page = tab.open(pruner_page(folder, "=cmd|' /C calc'!A0"))
    expect(page.locator(".notices")).to_contain_text("<script>")
    assert "\u202e" not in page.content()
    assert page.locator("main script").count() == page.locator("main script[src], main script[type*=json]").count()


def test_hostile_code_is_only_text() -> None:
    html = highlighted('"""</pre><script>alert(1)</script>"""\nx = "\u202e"\n# </span><b>\n', marked=2)
    assert set(re.findall(r"<[^>]*>", html)) <= {
        *('<pre class="code">', "</pre>", "<span>", "</span>", '<span class="hll">'),
        *(f'<span class="{name}">' for name in "ksmcf"),
    }
    assert "\u202e" not in html
    assert html.count('<span class="hll">') == 1


def test_each_failure_has_its_own_line_and_traceback() -> None:
    code = "x = 1\u2028y\r\n\tboom()\n"
    errors = [Failure("run", "E", "same", line, f"traceback {line}") for line in (1, 2)]
    scores = [
        fake_score("mine.py", level, status=Status.RUNTIME_ERROR, error=error)
        for level, error in zip(("0.5", "0.6"), errors, strict=True)
    ]
    given = report.Results("s", 2, scores, [], {}, "docker", attempts={"mine.py": Attempt(code)})
    faults = context("mine.py", given, {}, {})["faults"]
    assert [(one.autopsy.line, one.autopsy.code_line, one.traceback) for one in faults] == [
        (1, "x = 1\u2028y", "traceback 1"),
        (2, "boom()", "traceback 2"),
    ]


def test_failures_are_told_by_cause(tmp_path: Path, tab: Tab) -> None:
    message = "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0"
    error = Failure("run", "RuntimeError", message, line=2)
    failed = fake_score("o1/x/01", status=Status.RUNTIME_ERROR, author="model", error=error, idea="x", model="o1")
    late = fake_score("o1/x/02", status=Status.TIMEOUT, author="model", idea="x", model="o1")
    unknown = "'PrunableLayer' object has no attribute 'mask'"
    named = Failure("run", "AttributeError", unknown, line=2)
    invented = fake_score("o1/x/03", status=Status.RUNTIME_ERROR, author="model", error=named, idea="x", model="o1")
    report.write(results(tmp_path, [failed, late, invented]))
    page = tab.open(tmp_path / "report/html/index.html")
    by_cause = page.locator("section[aria-labelledby=failures] tbody th").all_inner_texts()
    assert sorted(by_cause) == ["not in the interface", "shape mismatch", "time"]
    row = page.locator("section[aria-labelledby=causes] tbody tr").inner_text().split("\t")
    assert row == ["o1", "x", "3", "not in the interface 1, shape mismatch 1, time 1"]
    page.locator("section[aria-labelledby=autopsies]").get_by_role("link", name="o1/x/03").click()
    fault = page.locator(".fault")
    expect(fault.locator("h3")).to_have_text("not in the interface")
    expect(fault).to_contain_text("It uses layer.mask, which the interface does not have.")
    expect(fault).to_contain_text("all that a pruner sees")
    expect(fault).to_contain_text("RUNTIME_ERROR, found in: run, at testbed-llama at 0.5")


def test_json_ends_no_script() -> None:
    assert "<" not in as_json({"a": "</script><!--"})
    assert json.loads(as_json({"a": "</script>"})) == {"a": "</script>"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(float("inf"))


def test_the_charts_are_valid_vega_lite() -> None:
    for spec, names in ((charts.curves(), ("points", "dense")), (charts.heat_map(), ("cells",))):
        data: dict[str, list[Any]] = {name: [] for name in names}
        vl_convert.vegalite_to_vega({**spec, "width": 300, "height": 200, "datasets": data})


def test_the_pages_are_small_and_those_of_gone_pruners_go(tmp_path: Path) -> None:
    path = results(tmp_path)
    (tmp_path / "report/html/pruners").mkdir(parents=True)
    (tmp_path / "report/html/pruners/gone.html").write_text("old")
    report.write(path)
    files = [file for file in (tmp_path / "report/html").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 1_500_000
    assert not (tmp_path / "report/html/pruners/gone.html").exists()


def test_served_pages_follow_the_study_and_refuse_other_names(tmp_path: Path, browser: Browser) -> None:
    path = results(tmp_path)
    made: list[int] = []

    def remake() -> None:
        made.append(1)
        report.write(path)

    with PageServer(tmp_path / "report/html", path, remake) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(server.address)
        page.wait_for_selector("#board tbody tr")
        assert len(made) == 1
        page.wait_for_timeout(3500)  # it has asked once for the version
        cell, score = Cell("testbed-llama", "0.5", "brand-new"), fake_score("brand-new")
        with Store(path) as store:
            plan = store.plan()
            assert plan is not None
            store.save_plan(Plan(plan.name, plan.text, plan.settings, "docker", (*plan.cells, cell)))
            store.add_score(cell, score)
        page.get_by_role("link", name="brand-new").first.wait_for(timeout=15_000, state="attached")
        page.close()
        for headers in ({"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
            for method in ("GET", "HEAD"):
                request = urllib.request.Request(server.address, headers=headers, method=method)
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(request)
        server.shutdown()
