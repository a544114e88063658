"""Every page opened in headless Chromium, from disk, as a reader would."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

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
LOCAL = ("file:", "data:", "blob:", "about:")

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


@contextmanager
def opened(browser: Browser, page: Path) -> Iterator[Visit]:
    tab = browser.new_page(viewport=PHONE)
    problems: list[str] = []
    tab.on("console", lambda m: m.type == "error" and problems.append(f"console: {m.text}"))
    tab.on("pageerror", lambda error: problems.append(f"script: {error}"))
    tab.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
    tab.on(
        "request",
        lambda r: not r.url.startswith(LOCAL) and problems.append(f"other host: {r.url}"),
    )
    tab.goto(page.as_uri(), wait_until="load")
    tab.evaluate("async () => { await window.MathJax?.startup?.promise; }")
    yield Visit(tab, problems)
    tab.close()


@pytest.fixture(scope="module")
def visit(browser: Browser, page: Path) -> Iterator[Visit]:
    with opened(browser, page) as opened_page:
        yield opened_page


def overflow(tab: Page) -> list[str]:
    """Return what sticks out of the window, if the page scrolls sideways."""
    return tab.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.querySelectorAll("main *")]
                .filter((e) => e.getBoundingClientRect().right > width + 1)
                .map((e) => `${e.tagName}.${e.className}`)
                .slice(0, 5)
                .concat(`document is ${document.documentElement.scrollWidth} px wide`);
        }"""
    )


def test_page_opens_without_a_problem(visit: Visit) -> None:
    assert visit.problems == []


def test_every_image_is_drawn(visit: Visit) -> None:
    not_drawn = "() => [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
    assert visit.tab.evaluate(not_drawn) == []


@pytest.mark.parametrize("window", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_page_does_not_scroll_sideways(visit: Visit, window: ViewportSize) -> None:
    visit.tab.set_viewport_size(window)
    assert overflow(visit.tab) == []


def test_equations_are_typeset(browser: Browser, html: Path) -> None:
    with opened(browser, html / "book" / "method.html") as visit:
        assert visit.tab.locator("mjx-container").count() > 10
        assert visit.tab.locator("mjx-merror").count() == 0
