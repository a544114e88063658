"""The rendered book, as the tests in this folder see it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
NOT_RENDERED = "the book is not rendered: run `make book` first"


def rendered_pages() -> list[Path]:
    return sorted([*HTML.glob("search.html"), *HTML.glob("book/**/*.html")])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a ``page`` each page of the book in turn."""
    if "page" not in metafunc.fixturenames:
        return
    pages = rendered_pages()
    names = [page.relative_to(HTML).as_posix() for page in pages]
    absent = pytest.param(None, marks=pytest.mark.skip(reason=NOT_RENDERED), id="none")
    # by module, so that tests which share an opened page come one after the other
    metafunc.parametrize("page", pages or [absent], ids=names or None, scope="module")


@pytest.fixture(scope="session")
def html() -> Path:
    if not rendered_pages():
        pytest.skip(NOT_RENDERED)
    return HTML
