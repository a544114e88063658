"""Sphinx extension: in the book as one page, from which the PDF is printed, every id is there once.

Pages share the names of their sections. Sphinx leaves them as they are when it joins the pages, and
a link to one of them then leads to the first of that name.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

_PAGE = "#document-"
"""How links to another page begin in the one page; its name follows, and perhaps an id."""


def make_ids_unique(book: nodes.document) -> None:
    """Put the page's name before each id that several pages have, and into the links to it."""
    elements = list(_with_pages(book, book["docname"]))
    times = Counter(name for element, _ in elements for name in set(element["ids"]))

    def unique(page: str, name: str) -> str:
        return f"{page}:{name}" if times[name] > 1 else name

    for element, page in elements:
        for names in ("ids", "backrefs"):
            element[names] = [unique(page, name) for name in element[names]]
        if "refid" in element:
            element["refid"] = unique(page, element["refid"])
        start, _, name = element.get("refuri", "").rpartition("#")
        if start.startswith(_PAGE):
            element["refuri"] = f"{start}#{unique(start.removeprefix(_PAGE), name)}"
        elif element.get("refuri") == f"{_PAGE}{book['docname']}":
            # the page that the others are joined to has no mark of its own
            element["refid"] = book.next_node(nodes.section)["ids"][0]
            del element["refuri"]


def _with_pages(node: nodes.Element, page: str) -> Iterator[tuple[nodes.Element, str]]:
    """Give all elements, each with the name of the page that it comes from."""
    for child in node.children:
        if isinstance(child, nodes.Element):
            of = child["docname"] if isinstance(child, addnodes.start_of_file) else page
            yield child, of
            yield from _with_pages(child, of)


def _resolved(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.name == "singlehtml" and docname == app.config.root_doc:
        make_ids_unique(doctree)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("doctree-resolved", _resolved)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
