"""Sphinx extension: a word of the glossary links to it where a page first uses it."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
WITHOUT_LINKS = (
    *(GLOSSARY, "book/api/", "book/bibliography", "book/contributing"),
    "book/speed",  # its lines are names
)
_UNTOUCHED = (
    nodes.reference,
    nodes.literal,
    nodes.title,
    nodes.raw,
    nodes.math,
    addnodes.pending_xref,
)


@cache
def terms(file: Path) -> dict[str, str]:
    """Read the glossary's terms, by how they look in lower case."""
    text = file.read_text(encoding="utf-8").split(":::{glossary}")[1]
    found = re.findall(r"^(\S.*)$", text, flags=re.MULTILINE)
    return {term.lower(): term for term in found if not term.startswith(":::")}


def link_first_uses(doctree: nodes.document, known: dict[str, str]) -> None:
    """Turn the first use of every term in running text into a link."""
    left = dict(known)
    names = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    terms_in = re.compile(rf"\b({names})\b", flags=re.IGNORECASE)
    for text in list(doctree.findall(nodes.Text)):
        if not left:
            return
        if not isinstance(text.parent, nodes.paragraph | nodes.emphasis | nodes.strong):
            continue
        if _within(text, _UNTOUCHED):
            continue
        made: list[nodes.Node] = []
        for number, part in enumerate(terms_in.split(text.astext())):
            named = part.lower() if number % 2 else ""
            if left.get(named, "").istitle() and part.islower():
                named = ""  # Shapes is a name, shapes are not
            if term := left.pop(named, None):
                link = addnodes.pending_xref(
                    "",
                    nodes.inline(part, part, classes=["std-term"]),
                    refdomain="std",
                    reftype="term",
                    reftarget=term,
                    refexplicit=True,
                    refwarn=True,
                )
                made.append(link)
            elif part:
                made.append(nodes.Text(part))
        text.parent.replace(text, made)


def _within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _link(app: Sphinx, doctree: nodes.document) -> None:
    file = Path(app.srcdir) / f"{GLOSSARY}.md"
    if file.is_file() and not app.env.docname.startswith(WITHOUT_LINKS):
        link_first_uses(doctree, terms(file))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("doctree-read", _link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
