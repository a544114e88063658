"""Sphinx extension: how the pages under ``book/runs``, made by notebooks, are laid out.

- Where pages of several models lie there, the model's name goes into their titles: without it two
  of them look the same in the sidebar, in the browser's tab and among the search results.
- What a notebook has to begin with, parameters and imports, goes to the end of its page.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

RUNS = PurePosixPath("book/runs")
LAST = "provenance"
FIRST_IN_NOTEBOOKS = {"tag_parameters", "tag_injected-parameters", "tag_setup"}
BEFORE_TITLES_ARE_COLLECTED = 400  # Sphinx's own collectors listen at the default, 500


def model_of(docname: str) -> str | None:
    """Return whose page this is, None if it is not a run; it may be that of no model, "shapes"."""
    page = PurePosixPath(docname)
    return page.parent.name if page.parent.parent == RUNS else None


def lay_out(app: Sphinx, doctree: nodes.document) -> None:
    """Name the model where that tells pages apart, and move what is of no interest at first."""
    docname = app.env.docname
    model = model_of(docname)
    if model is None:
        return
    title = next(doctree.findall(nodes.title))
    if len(list(Path(app.srcdir, *RUNS.parts).glob(f"*/{PurePosixPath(docname).name}.ipynb"))) > 1:
        title += nodes.Text(f": {model}")
    last = [part for part in doctree.findall(nodes.section) if LAST in part["ids"]]
    cells = [
        cell
        for cell in doctree.findall(nodes.container)
        if FIRST_IN_NOTEBOOKS & set(cell["classes"])
    ]
    for place, cell in enumerate(cells if last else [], start=1):
        cell.parent.remove(cell)
        last[0].insert(place, cell)  # behind its title


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("doctree-read", lay_out, priority=BEFORE_TITLES_ARE_COLLECTED)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
