"""Sphinx extension: put the model's name into the title of every page under ``book/runs``.

One notebook is run for many models, so its heading cannot name the model; without the name, two
result pages would look the same in the sidebar, in the browser's tab and in the search results.
"""

from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

RUNS = PurePosixPath("book/runs")
ABOUT_NO_MODEL = {"any_model", "arms", "shapes_datasheet"}
BEFORE_TITLES_ARE_COLLECTED = 400  # Sphinx's own collectors listen at the default, 500


def model_of(docname: str) -> str | None:
    """Return the model that a result page was run for.

    Args:
        docname: Sphinx document name, for example ``book/runs/tiny-llava-1.5/fig5_truncation``.

    Returns:
        The model's name, or None for a page that is not a run or is about no model.
    """
    page = PurePosixPath(docname)
    if page.parent.parent != RUNS or page.name in ABOUT_NO_MODEL:
        return None
    return page.parent.name


def name_model(app: Sphinx, doctree: nodes.document) -> None:
    """Append the model's name to the first heading of a result page."""
    model = model_of(app.env.docname)
    title = next(doctree.findall(nodes.title), None)
    if model is not None and title is not None:
        title += nodes.Text(f": {model}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("doctree-read", name_model, priority=BEFORE_TITLES_ARE_COLLECTED)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
