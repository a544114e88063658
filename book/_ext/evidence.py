"""Sphinx extension: prose cites what pages found, and never says it itself.

In a Markdown page, of the model that ``evidence_model`` in the configuration names:

- ``{number}`cliff, POPE``` becomes the value in the table of numbers of some page;
- ``{verdict}`cliff-no-harm``` becomes a claim's verdict, ``{measured}`cliff-no-harm``` what was
  measured for it (``, POPE`` behind it: on that task alone);
- ``{published}`no_image.0.accuracy``` becomes a value of ``paper_values.yml``;
- ``{page}`fig5_truncation``` becomes a link to a page, by its title;
- ``{found} fig5_truncation`` quotes what a page says first;
- ``{plot} fig5_truncation 1`` becomes the first figure of a page, with its caption and a link;
- ``{shown} fig5_truncation Cliffs by model`` becomes its table whose caption begins like that.

What no page of this copy has is "not run".
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective, SphinxRole

from infoflow.claims import all_claims
from infoflow.claims.paper import paper_values
from infoflow.report import NOT_RUN, TASK_TITLES

RUNS = "book/runs"
Row = dict[str, str]


@cache
def outputs(notebook: Path) -> list[Tag]:
    """Read what an executed notebook shows as HTML."""
    given = [output for cell in cells_of(notebook) for output in cell.get("outputs", [])]
    shown = [output.get("data", {}) for output in given]
    return [BeautifulSoup("".join(data.get("text/html", "")), "html.parser") for data in shown]


def table_rows(notebook: Path, first_head: str) -> Iterator[Row]:
    """Read the rows of all tables of a notebook whose first column has this head."""
    for output in outputs(notebook):
        for table in output.find_all("table"):
            heads, *rows = (
                [entry.get_text(" ", strip=True) for entry in row.find_all(["th", "td"])]
                for row in table.find_all("tr")
            )
            if heads[:1] == [first_head]:
                yield from (dict(zip(heads, row, strict=True)) for row in rows)


@cache
def _facts(folder: Path, model: str) -> dict[str, str]:
    """All that the pages of a model say, by what prose calls it."""
    facts = {}
    sentences = {claim.claim: claim.id for claim in all_claims()}
    for notebook in sorted(folder.glob("*.ipynb")):
        for row in table_rows(notebook, "quantity"):
            facts[f"number {row['quantity']}, {row['task']}"] = row["value"]
            facts[f"items {row['quantity']}, {row['task']}"] = row["items"]
        for row in table_rows(notebook, "claim"):
            claim, words = sentences.get(row["claim"]), row.get(f"ours, {model}")
            if claim and words:
                facts[f"verdict {claim}"] = row[f"verdict, {model}"]
                facts[f"measured {claim}"] = words
                for part in words.split("; "):
                    for title in TASK_TITLES.values():
                        if part.startswith(f"{title} "):
                            facts[f"measured {claim}, {title}"] = part.removeprefix(f"{title} ")
    return facts


class Fact(SphinxRole):
    """A role whose name says what kind of fact its text asks for."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Put the words of a page in."""
        model = self.config.evidence_model
        facts = _facts(Path(self.env.srcdir) / RUNS / model, model)
        self.env.note_dependency(f"{RUNS}/{model}/claims.ipynb")
        known = facts.get(f"{self.name} {self.text}", NOT_RUN)
        kind = known.replace(" ", "-") if self.name == "verdict" else self.name
        return [nodes.inline(known, known, classes=[self.name, kind])], []


class Published(SphinxRole):
    """A value that a paper prints, by its place in ``paper_values.yml``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look the value up."""
        value: Any = paper_values()
        for key in self.text.split("."):
            value = value[int(key) if key.isdigit() else key]
        return [nodes.inline(str(value), str(value), classes=["published"])], []


def notebook_of(page: str, env: BuildEnvironment) -> Path | None:
    """Find a page's notebook: its model's, or the one about no model; None if neither was run.

    What is being read is read anew when the notebook changes.
    """
    for model in (env.config.evidence_model, "shapes"):
        name = f"{RUNS}/{model}/{page}.ipynb"
        if (notebook := Path(env.srcdir) / name).is_file():
            env.note_dependency(name)
            return notebook
    return None


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    """Read a notebook's cells."""
    cells: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return cells


class Page(SphinxRole):
    """A link to the page of a notebook."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Link to it, if this copy has it."""
        notebook = notebook_of(self.text, self.env)
        if notebook is None:
            absent = nodes.Text(f" ({NOT_RUN} in this copy)")
            return [nodes.literal(self.text, self.text), absent], []
        title = "".join(cells_of(notebook)[0]["source"]).splitlines()[0].removeprefix("# ")
        link = addnodes.pending_xref(
            "",
            nodes.inline(title, title),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{RUNS}/{notebook.parent.name}/{self.text}",
            refexplicit=True,
            refwarn=True,
        )
        return [link], []


class Found(SphinxDirective):
    """What a page says first; argument: the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Quote the page's finding, as its cell writes it."""
        page = self.arguments[0]
        notebook = notebook_of(page, self.env)
        if notebook is None:
            return self.parse_text_to_nodes(f"*The page `{page}`: {NOT_RUN} in this copy.*")
        for cell in cells_of(notebook):
            if "finding" in cell["metadata"].get("tags", []):
                text = "".join(cell["outputs"][-1]["data"]["text/markdown"])
                quote = nodes.block_quote(classes=["finding"])
                quote += self.parse_text_to_nodes(f"{text}\n\nFrom {{page}}`{page}`")
                return [quote]
        raise self.error(f"{page} has no finding.")


class PlotOf(SphinxDirective):
    """A figure of another page; arguments: the page, and which of its figures."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """Copy the figure, as that page shows it."""
        page, number = self.arguments[0], int(self.arguments[1])
        notebook = notebook_of(page, self.env)
        if notebook is None:
            return self.parse_text_to_nodes(
                f"*Figure of the page `{page}`: {NOT_RUN} in this copy.*"
            )
        found = [plot for shown in outputs(notebook) for plot in shown.select("figure.plot")]
        if not 1 <= number <= len(found):
            raise self.error(f"{page} has {len(found)} figures, none is number {number}.")
        raw = nodes.raw("", str(found[number - 1]), format="html")
        return [raw, *self.parse_text_to_nodes(f"The page behind this figure: {{page}}`{page}`")]


class TableOf(SphinxDirective):
    """A table of another page; arguments: the page, and how the table's caption begins."""

    required_arguments = 2
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Copy the table, as that page shows it."""
        page, begins = self.arguments
        notebook = notebook_of(page, self.env)
        if notebook is None:
            return self.parse_text_to_nodes(
                f"*Table of the page `{page}`: {NOT_RUN} in this copy.*"
            )
        tables = (table for shown in outputs(notebook) for table in shown.select(".table-scroll"))
        for table in tables:
            if str(table["aria-label"]).startswith(begins):
                raw = nodes.raw("", str(table), format="html")
                link = self.parse_text_to_nodes(f"The page behind this table: {{page}}`{page}`")
                return [raw, *link]
        raise self.error(f"{page} has no table whose caption begins with {begins!r}.")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_config_value("evidence_model", "", "env", str)
    for name in ("number", "items", "verdict", "measured"):
        app.add_role(name, Fact())
    app.add_role("published", Published())
    app.add_role("page", Page())
    app.add_directive("plot", PlotOf)
    app.add_directive("found", Found)
    app.add_directive("shown", TableOf)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
