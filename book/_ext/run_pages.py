"""Sphinx extension: how the pages under ``book/runs``, made by notebooks, are laid out.

- Where pages of several models lie there, the model's name goes into their titles: without it two
  of them look the same in the sidebar, in the browser's tab and among the search results.
- What a notebook has to begin with, parameters and imports, goes to the end of its page.
- There it is said how to cite the page and how to run it: with links to Colab and Binder where the
  configuration's ``repository`` names one on GitHub, as it does in a fork's workflow.
"""

import os
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
    if last:
        last[0] += _use(app, title.astext(), PurePosixPath(docname).name)


def _use(app: Sphinx, title: str, name: str) -> nodes.Node:
    """Say how the page is cited and run."""
    release, repository = app.config.release, app.config.repository
    cited = nodes.list_item(
        "", nodes.paragraph("", f"Cite this page: “{title}”, infoflow {release}.")
    )
    run = nodes.paragraph("", "Run it: ", nodes.literal("", "make lab"), nodes.Text(", then "))
    run += [nodes.literal("", f"notebooks/{name}.ipynb"), nodes.Text(".")]
    if repository:
        file = f"notebooks/{name}.ipynb"
        for where, address in (
            ("Colab", f"https://colab.research.google.com/github/{repository}/blob/main/{file}"),
            ("Binder", f"https://mybinder.org/v2/gh/{repository}/main?labpath={file}"),
            ("source", f"https://github.com/{repository}/blob/main/{file}"),
        ):
            run += [nodes.Text(" "), nodes.reference("", where, refuri=address)]
    return nodes.bullet_list("", cited, nodes.list_item("", run))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_config_value("repository", os.environ.get("GITHUB_REPOSITORY", ""), "env", str)
    app.connect("doctree-read", lay_out, priority=BEFORE_TITLES_ARE_COLLECTED)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
