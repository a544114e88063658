"""Every page opened in headless Chromium, from disk, as a reader would."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

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
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
LOCAL = ("file:", "data:", "blob:", "about:")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=QUIET
        )
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport=PHONE)
    yield page
    page.close()


def open_page(tab: Page, page: Path) -> list[str]:
    """Open a page, wait until it is still, and return everything that went wrong."""
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
    return problems


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


def test_page_opens_without_a_problem(tab: Page, page: Path) -> None:
    assert open_page(tab, page) == []
    not_drawn = "() => [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
    assert tab.evaluate(not_drawn) == []


def test_page_does_not_scroll_sideways(tab: Page, page: Path) -> None:
    open_page(tab, page)
    assert overflow(tab) == []
    tab.set_viewport_size(DESKTOP)
    assert overflow(tab) == []


def test_equations_are_typeset(tab: Page, html: Path) -> None:
    open_page(tab, html / "book" / "method.html")
    assert tab.locator("mjx-container").count() > 10
    assert tab.locator("mjx-merror").count() == 0
