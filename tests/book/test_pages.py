"""The rendered pages as files: links, pictures, words, and nothing from another host."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag

import infoflow

REFERENCES = {"a": "href", "area": "href", "img": "src", "link": "href", "script": "src"}
FETCHED = [
    *((tag, "src") for tag in ("img", "script", "iframe", "audio", "video", "source", "embed")),
    ("link", "href"),
    ("object", "data"),
]
CSS_FETCH = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
SHORTEST_ALT = 20


@cache
def parse(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


@cache
def anchors(page: Path) -> frozenset[str]:
    named = parse(page).find_all(lambda tag: tag.get("id") or (tag.name == "a" and tag.get("name")))
    return frozenset(str(tag.get("id") or tag.get("name")) for tag in named)


def content(page: Path) -> Tag:
    return parse(page).select_one("article.bd-article") or parse(page)


def is_remote(reference: str) -> bool:
    """Whether a browser that loads this reference leaves the book's folder."""
    parts = urlsplit(reference.strip())
    return bool(parts.netloc) or parts.scheme not in {"", "data"}


def css_references(css: str) -> list[str]:
    return [first or second for first, second in CSS_FETCH.findall(css)]


def broken(page: Path, reference: str) -> bool:
    """Whether a local reference points to a file or an anchor that is not there."""
    parts = urlsplit(reference)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return True
    if not parts.fragment or target.suffix != ".html":
        return False
    return unquote(parts.fragment) not in anchors(target)


def test_internal_links_and_images_exist(page: Path) -> None:
    references = [
        str(tag[attribute])
        for name, attribute in REFERENCES.items()
        for tag in parse(page).find_all(name, attrs={attribute: True})
    ]
    local = [r for r in references if not urlsplit(r).scheme and not urlsplit(r).netloc]
    # A bare "#" is how the theme links a page to itself.
    assert [r for r in local if r != "#" and broken(page, r)] == []


def test_page_fetches_nothing_from_another_host(page: Path) -> None:
    soup = parse(page)
    fetched = [
        str(tag[attribute])
        for name, attribute in FETCHED
        for tag in soup.find_all(name, attrs={attribute: True})
    ]
    for tag in soup.find_all(srcset=True):
        fetched += [choice.split()[0] for choice in str(tag["srcset"]).split(",")]
    styles = [tag.get_text() for tag in soup.find_all("style")]
    styles += [str(tag["style"]) for tag in soup.find_all(style=True)]
    for css in styles:
        fetched += css_references(css)
    assert [reference for reference in fetched if is_remote(reference)] == []


def test_stylesheets_fetch_nothing_from_another_host(html: Path) -> None:
    remote = {
        (sheet.name, reference)
        for sheet in html.rglob("*.css")
        for reference in css_references(sheet.read_text("utf-8"))
        if is_remote(reference)
    }
    assert remote == set()


def test_images_have_words(page: Path) -> None:
    for image in content(page).find_all("img"):
        alt = str(image.get("alt", "")).strip()
        assert len(alt) >= SHORTEST_ALT, f"alt text {alt!r} of {str(image)[:200]}"
        assert not re.search(r"\.(png|svg|jpe?g|gif)$", alt), f"alt text {alt!r} is a file name"


def test_images_are_in_figures_with_captions(page: Path) -> None:
    for image in content(page).find_all("img"):
        assert image.find_parent("figure") is not None, f"no figure around {str(image)[:200]}"
    for figure in content(page).find_all("figure"):
        caption = figure.find("figcaption")
        assert caption is not None, f"no caption in {str(figure)[:200]}"
        assert caption.get_text(strip=True), f"empty caption in {str(figure)[:200]}"


def test_no_traceback_or_widget_on_a_page(page: Path) -> None:
    assert content(page).select(".traceback, .output.stderr") == []
    assert parse(page).select('script[type^="application/vnd.jupyter"]') == []


def test_no_folder_of_this_machine_on_a_page(page: Path) -> None:
    assert str(Path(infoflow.__file__).parents[2]) not in page.read_text("utf-8")


def test_front_page_leads_to_the_introduction(html: Path) -> None:
    refresh = parse(html / "index.html").select_one('meta[http-equiv="Refresh" i]')
    assert refresh is not None
    assert (html / str(refresh["content"]).partition("url=")[2]).samefile(html / "book/intro.html")


def test_every_page_is_in_the_navigation(html: Path) -> None:
    start = html / "book" / "intro.html"
    links = parse(start).select("nav a[href]")
    listed = {(start.parent / urlsplit(str(a["href"])).path).resolve() for a in links}
    listed.add(start)
    assert set(html.glob("book/**/*.html")) <= listed


def test_result_pages_name_their_model_where_there_are_several(html: Path) -> None:
    runs = [page for page in html.glob("book/runs/*/*.html") if page.parent.name != "shapes"]
    assert runs, "the book holds no result page"
    for page in runs:
        several = len(list(html.glob(f"book/runs/*/{page.name}"))) > 1
        heading, title = content(page).find("h1"), parse(page).title
        assert heading is not None
        assert title is not None
        for words in (heading, title):
            assert (page.parent.name in words.get_text()) == several


def test_result_pages_show_their_provenance(html: Path) -> None:
    for page in html.glob("book/runs/*/*.html"):
        assert content(page).select(".provenance"), f"no provenance box on {page}"


@pytest.mark.parametrize("name", infoflow.__all__)
def test_every_public_name_is_in_the_reference(html: Path, name: str) -> None:
    public = getattr(infoflow, name)
    documented = frozenset[str]().union(*(anchors(p) for p in html.glob("book/api/*.html")))
    assert f"{public.__module__}.{public.__qualname__}" in documented
