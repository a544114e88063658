"""Sphinx extension: what Table 1 should cost on whole benchmarks, reckoned when the book is built.

In a page, ``{costs} llava-1.5-7b shikra-7b`` becomes the table that ``infoflow costs`` prints for
these models, with its assumptions.
"""

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from infoflow.evaluate.costs import HEADS, costs_assumptions, costs_table


def as_markdown(models: Sequence[str]) -> str:
    """Write the expected costs as Markdown.

    Args:
        models: Names of published models.

    Returns:
        A table, and a paragraph that says what it counts and assumes.
    """
    lines = [HEADS, ["---"] * len(HEADS), *costs_table(models)]
    table = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([*table, "", costs_assumptions()])


class Costs(SphinxDirective):
    """The directive; its arguments name the models."""

    required_arguments = 1
    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        """Reckon the costs and parse the Markdown made of them."""
        return self.parse_text_to_nodes(as_markdown(self.arguments))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_directive("costs", Costs)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
