"""Sphinx extension: the table of a benchmark run, from the file that the run wrote.

In a page, ``{benchmarks} cpu`` becomes what ``benchmarks/results/cpu.json`` holds: the hardware,
the versions and a line for each comparison. Without such a file it becomes "not run".
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

RESULTS = Path("benchmarks") / "results"
NOT_RUN = "not run"
COLUMNS = ("what", "naive way", "infoflow", "ratio", "predicted", "wanted", "reached")
H200_COLUMNS = ("H200 by arithmetic: naive way", "infoflow")


def as_markdown(results: Mapping[str, Any] | None) -> str:
    """Write a run's results as Markdown.

    Args:
        results: What ``python -m benchmarks --output`` wrote; None if there was no run.

    Returns:
        A paragraph that says what was measured where, a table, and the remarks.
    """
    if results is None:
        return f"**{NOT_RUN}**: this copy of the book holds no such measurement."
    machine = results["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "transformers"))
    on_gpu = any(line["h200"] for line in results["lines"]) and machine["device"] == "cuda"
    columns = COLUMNS + (H200_COLUMNS if on_gpu else ())
    rows = [_row(line, on_gpu) for line in results["lines"]]
    table = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    remarks = [
        f"- {line['name']}: {line['remark']}." for line in results["lines"] if line["remark"]
    ]
    return "\n".join(
        [
            *(f"**{machine['hardware']}** ({versions}). {results['what']}.", ""),
            *("| " + " | ".join(cells) + " |" for cells in table),
            *("", *remarks),
        ]
    )


def _row(line: Mapping[str, Any], on_gpu: bool) -> list[str]:
    digits = ".0f" if line["unit"] == "MB" else ".3f" if on_gpu else ".2f"
    cells = [
        line["name"],
        *(f"{line[way]:{digits}} {line['unit']}" for way in ("usual", "ours")),
        *(_ratio(line[name]) for name in ("ratio", "predicted", "wanted")),
        {None: "", True: "yes", False: "**no**"}[line["reached"]],
    ]
    if on_gpu:
        cells += [f"{value:.3f} s" for value in line["h200"]] if line["h200"] else ["", ""]
    return cells


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


class Benchmarks(SphinxDirective):
    """The directive; its argument names the file."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read the file and parse the Markdown made of it."""
        path = Path(self.env.srcdir) / RESULTS / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(path))
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        return self.parse_text_to_nodes(as_markdown(results))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_directive("benchmarks", Benchmarks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
