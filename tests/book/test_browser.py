"""Every page opened in headless Chromium, from disk, as a reader would."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from infoflow.claims import Finding, all_claims
from infoflow.claims.findings import FAILS, HOLDS
from infoflow.report import Frame, Slider, finding_table
from infoflow.report.slider import to_png

ROOT = Path(__file__).resolve().parents[2]
LABS = ROOT / "book" / "labs"
AUDIT = Path(__file__).with_name("audit.js")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PHONE = ViewportSize(width=390, height=844)
DESKTOP = ViewportSize(width=1280, height=900)
PAPER = ViewportSize(width=688, height=1017)
"""A4 without the margins that the style sheet asks for, in CSS pixels."""
LOCAL = ("file:", "data:", "blob:", "about:")
REFERENCE = ("index", "lvlm")
"""Of the API reference: its contents, and one of the pages that Sphinx makes alike."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield chromium
        chromium.close()


class Visit(NamedTuple):
    """A page opened at a phone's width, and all that went wrong meanwhile."""

    tab: Page
    problems: list[str]

    def go(self, page: Path) -> None:
        self.tab.goto("about:blank")  # so that nothing of the page before is taken for this one's
        self.problems.clear()
        self.tab.emulate_media(media="screen")
        self.tab.set_viewport_size(PHONE)
        self.tab.goto(page.as_uri(), wait_until="load")
        self.tab.evaluate("async () => { await window.MathJax?.startup?.promise; }")

    def audit(self, name: str) -> list[str]:
        """Ask one of the questions of ``audit.js``."""
        return self.tab.evaluate(f"audit.{name}()")


@contextmanager
def new_tab(browser: Browser) -> Iterator[Visit]:
    tab = browser.new_page(viewport=PHONE, color_scheme="light")
    tab.add_init_script(path=AUDIT)
    problems: list[str] = []
    tab.on("console", lambda m: m.type == "error" and problems.append(f"console: {m.text}"))
    tab.on("pageerror", lambda error: problems.append(f"script: {error}"))
    tab.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
    tab.on(
        "request",
        lambda r: not r.url.startswith(LOCAL) and problems.append(f"other host: {r.url}"),
    )
    yield Visit(tab, problems)
    tab.close()


@contextmanager
def opened(browser: Browser, page: Path) -> Iterator[Visit]:
    with new_tab(browser) as visit:
        visit.go(page)
        yield visit


@pytest.fixture(scope="module")
def one_tab(browser: Browser) -> Iterator[Visit]:
    """One for all pages of the book: a new one each costs a core a second more a page."""
    with new_tab(browser) as visit:
        yield visit


@pytest.fixture(scope="module")
def visit(one_tab: Visit, page: Path) -> Visit:
    one_tab.go(page)
    return one_tab


def violations(tab: Page, within: str = ":root") -> list[tuple[str, str]]:
    """Let axe look at a page, and tell what is wrong within its boxes of a kind."""
    tab.add_script_tag(url=AXE_FILE_PATH.as_uri())
    return tab.evaluate("(within) => audit.violations(within)", within)


def test_page_opens_without_a_problem(visit: Visit) -> None:
    assert visit.problems == []


def test_every_image_is_drawn(visit: Visit) -> None:
    not_drawn = "() => [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
    assert visit.tab.evaluate(not_drawn) == []


def test_what_we_wrote_is_accessible(visit: Visit, page: Path) -> None:
    if page.stem == "search" or (page.parent.name == "api" and page.stem not in REFERENCE):
        return  # wholly the theme's, or like another page
    found = violations(visit.tab, ".bd-article")
    if page.stem == "bibliography":  # docutils gives its entries a role that was withdrawn
        found = [each for each in found if "citation" not in each[1]]
    assert found == []


def test_equations_are_typeset(visit: Visit, page: Path) -> None:
    count = "(tag) => document.querySelectorAll(tag).length"
    assert visit.tab.evaluate(count, "mjx-container") > (10 if page.stem == "method" else -1)
    assert visit.tab.evaluate(count, "mjx-merror") == 0


def test_every_contact_sheet_has_its_slider(visit: Visit) -> None:
    sliders = """() => [...document.querySelectorAll("figure.scrubber")]
        .map((sheet) => sheet.querySelectorAll("input[type=range]").length)"""
    assert set(visit.tab.evaluate(sliders)) <= {1}


def test_solutions_of_labs_open_by_keyboard(visit: Visit, page: Path) -> None:
    if not page.stem.startswith("lab"):
        return
    # handles, because a locator would be sought in the whole page with each question put to it
    solutions = visit.tab.locator("details", has_text="Show a solution").element_handles()
    assert len(solutions) > 2
    for solution in solutions:
        head, code = (
            solution.wait_for_selector(tag, state="attached") for tag in ("summary", "pre")
        )
        assert not code.is_visible()
        head.press("Enter")
        assert code.is_visible()
        head.press("Space")
        assert not code.is_visible()


@pytest.mark.parametrize("window", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_page_does_not_scroll_sideways(visit: Visit, window: ViewportSize) -> None:
    visit.tab.set_viewport_size(window)
    visit.audit("prepare")
    assert visit.audit("overflow") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out(visit: Visit, theme: str) -> None:
    show_in(visit, theme)
    assert visit.audit("faint") == []
    assert visit.audit("hiddenLinks") == []


def test_pictures_stand_out_in_the_dark(visit: Visit) -> None:
    show_in(visit, "dark")
    on_dark = [Path(unquote(urlparse(source).path)) for source in visit.audit("onDark")]
    assert [picture.name for picture in on_dark if is_transparent(picture)] == []


def test_page_prints_whole_and_dark_on_white(visit: Visit) -> None:
    tab = visit.tab
    tab.emulate_media(media="print")
    tab.set_viewport_size(PAPER)
    assert visit.audit("cutOff") == []
    show_in(visit, "dark")
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert visit.audit("faint") == []
    tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"


def show_in(visit: Visit, theme: str) -> None:
    visit.tab.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)


@cache
def is_transparent(picture: Path) -> bool:
    if picture.suffix == ".svg":
        return True
    with Image.open(picture) as opened:
        return opened.convert("RGBA").getextrema()[3] != (255, 255)


RESULTS = "#search-results li a"


def test_search_finds_prose_first_and_goes_by_keyboard(browser: Browser, html: Path) -> None:
    with opened(browser, html / "book" / "intro.html") as visit:
        tab, pulled = visit.tab, list[str]()
        tab.on("request", lambda request: pulled.append(request.url))
        tab.set_viewport_size(DESKTOP)
        for query in ("cliff", "attention", "truncation", "POPE"):
            pulled.clear()
            tab.keyboard.press("Control+k")
            tab.keyboard.type(query)
            tab.keyboard.press("Enter")
            tab.wait_for_url(f"**/search.html?q={query}*")
            summary = tab.locator(".search-summary")
            expect(summary).to_contain_text("finished", timeout=30_000)
            found = [link.get_attribute("href") or "" for link in tab.locator(RESULTS).all()]
            assert [link.startswith("book/api/") for link in found[:8]] == [False] * 8, query
            assert found == sorted(found, key=lambda link: link.startswith("book/api/"))
            index = [Path(urlparse(url).path) for url in pulled if "searchindex" in url]
            assert sum(file.stat().st_size for file in index) < 1e6
            assert len([url for url in pulled if ".html" in url]) == 1, "pages are read, too"
        for _ in range(200):  # as many stops as there may be before it
            tab.keyboard.press("Tab")
            if tab.evaluate(f"document.activeElement.matches('{RESULTS}')"):
                break
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"**/{found[0]}")
        assert visit.problems == []


@pytest.mark.parametrize("deck", sorted(LABS.glob("slides/*.html")), ids=lambda deck: deck.stem)
def test_slides_fit_and_turn_by_keyboard(one_tab: Visit, deck: Path) -> None:
    one_tab.go(deck)
    tab = one_tab.tab
    boxes = """() => [...document.querySelectorAll("section")].map((slide) => {
        const { top, height } = slide.getBoundingClientRect();
        return [Math.round(top), Math.round(height)];
    })"""
    for window in (PHONE, DESKTOP):
        tab.set_viewport_size(window)
        tab.keyboard.press("Home")
        heights = [height for _, height in tab.evaluate(boxes)]
        assert set(heights) == {window["height"]}, "one does not fit"
        for key, shown in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", -1)):
            tab.keyboard.press(key)
            assert tab.evaluate(boxes)[shown][0] == 0, "another slide is shown"
        assert violations(tab) == []
        assert one_tab.audit("faint") == []
        assert one_tab.audit("hiddenLinks") == []
    assert one_tab.problems == []


STATIC, NOTEBOOKS = ROOT / "book" / "_static", ROOT / "notebooks"


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with two contact sheets of three frames, the last of which has no picture."""
    pages = [
        Slider(
            frames=[
                Frame("layer 1", "Layer 1: a red square, all over.", to_png(picture("red"))),
                Frame("layer 2", "Layer 2: a blue square, all over.", to_png(picture("blue"))),
                Frame("layer 3", "Layer 3: undefined.", None, "undefined"),
            ],
            label=f"Layer of map {number}",
            caption="Two squares and nothing.",
            table=pd.DataFrame({"peak": [1, 2]}),
            numbers="Numbers",
        )._repr_mimebundle_()["text/html"]
        for number in range(2)
    ]
    page = tmp_path_factory.mktemp("sheets") / "page.html"
    page.write_text(
        "<!doctype html><html><head><meta charset='utf-8'>"
        f"<link rel='stylesheet' href='{(STATIC / 'infoflow.css').as_uri()}'>"
        f"<script src='{(STATIC / 'scrubber.js').as_uri()}'></script>"
        f"</head><body><main class='bd-content'>{''.join(pages)}</main></body></html>",
        "utf-8",
    )
    return page


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (40, 40), colour)


def shown(sheet: Locator) -> tuple[str | None, str, str | None]:
    """Where the large picture comes from, what is told of it, and what the slider says."""
    stage = sheet.locator(".stage")
    pictures = stage.locator("img")
    source = pictures.get_attribute("src") if pictures.count() else stage.locator(".view")
    text = source if isinstance(source, str) else source.inner_text()
    return text, stage.locator(".told").inner_text(), slider(sheet).get_attribute("aria-valuetext")


def slider(sheet: Locator) -> Locator:
    return sheet.locator("input[type=range]")


def test_the_scrubber_is_moved_by_keyboard(browser: Browser, sheets: Path) -> None:
    with opened(browser, sheets) as visit:
        first, second = visit.tab.locator("figure.scrubber").all()
        small = first.locator(".frames img")
        red, blue = (small.nth(i).get_attribute("src") for i in range(2))
        words = ["Layer 1: a red square, all over.", "Layer 2: a blue square, all over."]
        assert shown(first) == (red, words[0], words[0])

        visit.tab.keyboard.press("Tab")  # the first thing on the page that takes the focus
        assert slider(first).evaluate("element => element === document.activeElement")
        visit.tab.keyboard.press("ArrowRight")
        assert shown(first) == (blue, words[1], words[1])
        assert first.locator(".frame.shown figcaption").inner_text() == "layer 2"
        visit.tab.keyboard.press("End")
        assert shown(first) == ("undefined", "Layer 3: undefined.", "Layer 3: undefined.")
        assert first.locator(".stage img").count() == 0
        visit.tab.keyboard.press("Home")
        assert shown(first) == (red, words[0], words[0])
        assert shown(second)[1] == words[0]
        assert visit.problems == []


def test_the_scrubber_is_moved_by_a_click_on_a_frame(browser: Browser, sheets: Path) -> None:
    with opened(browser, sheets) as visit:
        second = visit.tab.locator("figure.scrubber").nth(1)
        second.locator(".frame").nth(1).click()
        assert shown(second)[1] == "Layer 2: a blue square, all over."
        assert slider(second).input_value() == "1"
        assert slider(second).get_attribute("aria-label") == "Layer of map 1"


@pytest.mark.parametrize("window", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_without_a_script_the_contact_sheet_is_all_there(
    browser: Browser, sheets: Path, window: ViewportSize
) -> None:
    context = browser.new_context(viewport=window, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(sheets.as_uri())
    sheet = tab.locator("figure.scrubber").first
    assert tab.locator("input").count() == 0
    assert sheet.locator(".frame figcaption").all_inner_texts() == ["layer 1", "layer 2", "layer 3"]
    boxes = [frame.bounding_box() for frame in sheet.locator(".frame").all()]
    assert all(box and box["x"] + box["width"] <= window["width"] for box in boxes)
    assert len({box["y"] for box in boxes if box}) == 1  # side by side
    assert sheet.locator(".absent").inner_text() == "undefined"
    context.close()


def page_of(folder: Path, html: str, script: str) -> Path:
    page = folder / "page.html"
    page.write_text(
        "<!doctype html><html><head><meta charset='utf-8'>"
        f"<link rel='stylesheet' href='{(STATIC / 'infoflow.css').as_uri()}'>"
        f"<script src='{(STATIC / script).as_uri()}'></script>"
        f"</head><body><main class='bd-content'>{html}</main></body></html>",
        "utf-8",
    )
    return page


def test_what_is_wrong_with_a_page_is_found(browser: Browser, tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9)).save(tmp_path / "dot.png")
    wide = "<div style='overflow-x: auto'><table style='width: 2000px'><td>wide</td></table></div>"
    links = "<p>A <a href='#'>link</a>, <a href='#' style='text-decoration: none'>another</a>.</p>"
    faults = f"<p style='color: #999'>faint</p><img src='dot.png' alt=''>{wide}{links}"
    page = page_of(tmp_path, f"<article class='bd-article'>{faults}</article>", "pages.js")
    with opened(browser, page) as visit:
        assert [found.endswith("P. faint") for found in visit.audit("faint")] == [True]
        assert visit.audit("hiddenLinks") == ["A. another"]
        assert visit.audit("onDark") == [(tmp_path / "dot.png").as_uri()]
        assert is_transparent(tmp_path / "dot.png")
        assert {found.split(".")[0] for found in visit.audit("cutOff")} == {"DIV", "TABLE", "TD"}
        assert visit.audit("overflow") == [], "the table scrolls in its box"


def test_folded_code_is_reached_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    code = f"<pre style='overflow: auto'>{'wide' * 200}</pre>"
    page = page_of(tmp_path, f"<details><summary>Code</summary>{code}</details>", "pages.js")
    with opened(browser, page) as visit:
        visit.tab.locator("summary").press("Enter")
        expect(visit.tab.locator("pre")).to_have_attribute("tabindex", "0")


def test_a_table_is_a_region_while_it_scrolls(browser: Browser, tmp_path: Path) -> None:
    table = "<table style='width: {}px'><td>wide</td></table>"
    box = "<div class='table-scroll' role='region' tabindex='0' aria-label='{}'>{}</div>"
    tables = (box.format(width, table.format(width)) for width in (80, 800, 8000))
    with opened(browser, page_of(tmp_path, "".join(tables), "pages.js")) as visit:
        regions = visit.tab.get_by_role("region")
        for window, names in (
            (PHONE, ["800", "8000"]),
            (DESKTOP, ["8000"]),
            (PHONE, ["800", "8000"]),
        ):
            visit.tab.set_viewport_size(window)
            expect(regions).to_have_count(len(names))
            assert [region.get_attribute("aria-label") for region in regions.all()] == names
            assert visit.tab.locator("[tabindex='0']").count() == len(names)


def test_claims_are_shown_by_verdict_and_numbers_downloaded(
    browser: Browser, tmp_path: Path
) -> None:
    findings = [
        Finding(HOLDS if i % 3 else FAILS, f"{i} %", claim=claim)
        for i, claim in enumerate(all_claims()[:12])
    ]
    table = finding_table({"tiny": findings}, "Claims")._repr_mimebundle_()["text/html"]
    with opened(browser, page_of(tmp_path, table, "pages.js")) as visit:
        rows = visit.tab.locator(".findings tbody tr")
        assert rows.count() == 12
        visit.tab.get_by_role("button", name="fails (4)").press("Enter")
        assert [row.is_visible() for row in rows.all()] == [f.verdict == FAILS for f in findings]
        with visit.tab.expect_download() as download:
            visit.tab.get_by_role("link", name="Download page-table-1.csv").click()
        text = download.value.path().read_text()
        assert len(text.splitlines()) == 13
        assert visit.problems == []


def test_the_explorer_goes_by_keyboard_and_each_state_has_its_address(
    browser: Browser, tmp_path: Path
) -> None:
    notebook = nbformat.read(NOTEBOOKS / "explorer.ipynb", as_version=4)
    (html,) = (
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if 'class="explorer"' in output.get("data", {}).get("text/html", "")
    )
    page = page_of(tmp_path, html, "explorer.js")
    with opened(browser, page) as visit:
        tab = visit.tab
        tab.get_by_role("slider", name="Cut").press("Home")
        assert " at cut 0: " in tab.locator(".explorer .answer").inner_text()
        tab.get_by_role("slider", name="Layer").press("ArrowRight")
        tab.locator(".explorer .cells span").first.focus()
        tab.keyboard.press("ArrowDown")
        assert "row 2, column 1" in tab.locator(".explorer .told").inner_text()
        state, shares = tab.url, tab.locator(".explorer .shares").inner_text()
        assert {"cut=0", "layer=2"} <= set(state.split("#")[1].split("&"))
        assert visit.audit("overflow") == []
        tab.goto("about:blank")
        tab.goto(state)
        assert tab.locator(".explorer .shares").inner_text() == shares
        assert visit.problems == []
