"""What a notebook shows: plots, tables, sentences and provenance boxes, for the eye and in words.

Each has two faces: HTML for the book and JupyterLab, and plain text that holds the numbers, which
is what a re-run of the notebook is compared by.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from infoflow.data.items import reported_split
from infoflow.report.style import HOUSE_STYLE, TASK_TITLES, listed

DOTS_PER_INCH = 200
NOT_RUN = "not run"
"""What stands in a table for a value that nobody measured; never 0, never blank."""

MimeBundle = dict[str, str]
Lines = Mapping[Any, Mapping[str, Any]] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure, what it shows in a sentence or two, what is plotted, and the numbers behind it."""

    figure: Figure
    alt: str
    caption: str
    table: pd.DataFrame

    @cached_property
    def png(self) -> bytes:
        """The image, with the same bytes in every run on one machine."""
        sink = BytesIO()
        with mpl.rc_context(HOUSE_STYLE):
            size: dict[str, Any] = {"dpi": DOTS_PER_INCH, "bbox_inches": "tight"}
            same = {"Software": None}  # matplotlib's version would be part of the bytes
            self.figure.savefig(sink, format="png", facecolor="white", metadata=same, **size)
        return sink.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        width = Image.open(BytesIO(self.png)).width // 2
        source = b64encode(self.png).decode("ascii")
        return {
            "text/html": (
                f'<figure class="plot"><img alt="{escape(self.alt)}" width="{width}" '
                f'src="data:image/png;base64,{source}">'
                f"<figcaption>{escape(self.caption)}</figcaption></figure>"
            ),
            "text/plain": f"{self.caption}\n{self.alt}",
        }


@dataclass(frozen=True, eq=False)
class Table:
    """A table of rounded numbers and words; a comparison marks its columns named ``paper...``."""

    data: pd.DataFrame
    caption: str
    comparison: bool = False

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        kind = "table-scroll paper-vs-ours" if self.comparison else "table-scroll"
        head = "".join(
            _cell("th", name, "words" if all(isinstance(v, str) for v in values) else "")
            for name, values in self.data.items()
        )
        body = "".join(
            f"<tr>{_cell('th', label)}{''.join(map(self._value, self.data, values))}</tr>"
            for label, *values in self.data.itertuples()
        )
        with pd.option_context("display.max_colwidth", None):
            plain = self.data.to_string()
        return {
            "text/html": (
                f'<div class="{kind}" role="region" tabindex="0" '
                f'aria-label="{escape(self.caption)}"><table class="dataframe">'
                f"<caption>{escape(self.caption)}</caption><thead>"
                f"<tr>{_cell('th', self.data.index.name or '')}{head}</tr></thead>"
                f"<tbody>{body}</tbody></table></div>"
            ),
            "text/plain": f"{self.caption}\n{plain}",
        }

    def _value(self, column: Any, value: Any) -> str:
        if value == NOT_RUN:
            return _cell("td", value, "not-run")
        paper = "paper" if self.comparison and str(column).startswith("paper") else ""
        return _cell("td", value, paper, "words" if isinstance(value, str) else "")


def table(lines: Lines, caption: str, index: str = "task", *, comparison: bool = False) -> Table:
    """Make a table of lines, by name or with their name as the column ``index``."""
    if isinstance(lines, Mapping):
        data = pd.DataFrame.from_dict(dict(lines), orient="index").rename_axis(index)
    else:
        data = pd.DataFrame(lines).set_index(index)
    return Table(data, caption, comparison)


def paper_table(
    lines: Lines, caption: str, source: str | Path, model: str, index: str = "task"
) -> Table:
    """Set the paper beside ours in a table whose columns begin with ``"paper"`` or ``"ours"``."""
    return on_source(table(lines, caption, index, comparison=True), source, model)


def on_source(compared: Table, source: str | Path, model: str) -> Table:
    """Name what a table of comparison sets beside the paper, where that is not Shapes.

    Columns ``"ours, MODEL on Shapes"`` are then of the benchmark. If the page's model is the
    paper's, they replace ``"ours, MODEL on the benchmark"``, the runs that the page has not made.
    """
    if source == "shapes":
        return compared
    made = {f"ours, {model} on the benchmark", f"ours, {model} on the benchmarks"}
    left = [name for name in compared.data if name not in {*made, "ours, on the benchmark"}]
    named = {name: str(name).replace(" on Shapes", " on the benchmark") for name in left}
    return replace(compared, data=compared.data[left].rename(columns=named))


@dataclass(frozen=True)
class Words:
    """Markdown without HTML; what the page did not write itself goes in by :func:`literal`."""

    text: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        return {
            "text/markdown": self.text.replace("&", "&amp;").replace("<", "&lt;"),
            "text/plain": re.sub(rf"\\{_MARKUP}", r"\1", self.text),
        }


_MARKUP = r"([\\`*_\[\]$|~{}!])"


def literal(text: str) -> str:
    """Escape text for a line of :class:`Words`: it is no markup and no formula."""
    return re.sub(_MARKUP, r"\\\1", " ".join(text.split()))


def source_words(source: str | Path, tasks: list[str]) -> Words | None:
    """Say whose items a page measures and what they do not allow; None for Shapes."""
    if source == "shapes":
        return None
    origin = "from the hub" if source == "hub" else f"from the folder {literal(str(source))}"
    titles = listed([TASK_TITLES[task] for task in tasks])
    apart = listed([TASK_TITLES[task] for task in tasks if reported_split(task) == "held-out"])
    others = f" Of {apart} the held-out pictures are reported; cliffs are chosen on others."
    return Words(
        f"This page asks about the benchmarks' own items ({titles}, {origin}), in place of Shapes."
        f"{others if apart else ''} Whatever is measured against the region that an "
        "answer can be read from (*on target*) needs Shapes' masks: not run on this source."
    )


@dataclass(frozen=True)
class ProvenanceBox:
    """Where a page's numbers come from, folded away under one line.

    Another run of the page must reproduce what is lasting. Circumstances (machine, versions, cost)
    may differ and stand in the HTML alone.
    """

    summary: str
    lasting: Mapping[str, str]
    circumstances: Mapping[str, str] = field(default_factory=dict)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        entries = {**self.lasting, **self.circumstances}
        listed = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries.items()
        )
        plain = "\n".join(f"{name}: {value}" for name, value in self.lasting.items())
        return {
            "text/html": (
                f'<details class="provenance"><summary>{escape(self.summary)}</summary>'
                f"<dl>{listed}</dl></details>"
            ),
            "text/plain": f"{self.summary}\n{plain}",
        }


def _cell(tag: str, value: Any, *kinds: str) -> str:
    marks = " ".join(filter(None, kinds))
    attribute = f' class="{marks}"' if marks else ""
    return f"<{tag}{attribute}>{escape(str(value))}</{tag}>"
