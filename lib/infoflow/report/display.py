"""What a notebook shows: plots, tables, sentences and provenance boxes, for the eye and in words.

Each has two faces: HTML for the book and JupyterLab, and plain text that holds the numbers, which
is what a re-run of the notebook is compared by.
"""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from infoflow.data.items import reported_split
from infoflow.report.style import HOUSE_STYLE, TASK_TITLES, listed_tasks
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import Estimate

SAVED: dict[str, Any] = {"dpi": 200, "bbox_inches": "tight"}
NOT_RUN = "not run"
"""What stands in a table for a value that nobody measured; never 0, never blank."""
Lines = Mapping[Any, Mapping[str, Any]] | Sequence[Mapping[str, Any]]


def _template(name: str) -> str:
    lines = Path(__file__).with_name("html").joinpath(name).read_text("utf-8").splitlines()
    return "".join(map(str.strip, lines))


# whatever a template is filled with is text and no markup
_HTML = jinja2.Environment(
    loader=jinja2.FunctionLoader(_template), finalize=lambda value: escape(str(value))
)
_HTML.filters["base64"] = lambda content: b64encode(content).decode("ascii")


class Shown:
    """What a cell shows: HTML by the template of the class's name, and the same in plain text."""

    @property
    def plain(self) -> str:
        """What a re-run must reproduce."""
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        template = _HTML.get_template(f"{type(self).__name__.lower()}.html")
        return {"text/html": template.render(shown=self), "text/plain": self.plain}


@dataclass(frozen=True, eq=False)
class Plot(Shown):
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
            same = {"Software": None}  # matplotlib's version would be part of the bytes
            self.figure.savefig(sink, format="png", facecolor="white", metadata=same, **SAVED)
        return sink.getvalue()

    @property
    def width(self) -> int:
        """Of the image on the page, in pixels of CSS."""
        return Image.open(BytesIO(self.png)).width // 2

    @property
    def plain(self) -> str:
        return f"{self.caption}\n{self.alt}"


@dataclass(frozen=True, eq=False)
class Table(Shown):
    """A table of rounded numbers and words; a comparison marks its columns named ``paper...``."""

    data: pd.DataFrame
    caption: str
    comparison: bool = False

    @property
    def plain(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return f"{self.caption}\n{self.data.to_string()}"


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

    Columns ``"ours, MODEL on Shapes"`` are then of the benchmark, and replace those of runs that
    the page has not made, ``"ours, MODEL on the benchmark"``.
    """
    if source == "shapes":
        return compared
    not_made = [f"ours, {whose}on the benchmark" for whose in ("", f"{model} ")]
    left = [name for name in compared.data if name not in {*not_made, f"{not_made[1]}s"}]
    named = {name: str(name).replace(" on Shapes", " on the benchmark") for name in left}
    return replace(compared, data=compared.data[left].rename(columns=named))


def finding_table(findings: Mapping[str, Sequence[Any]], title: str) -> Table:
    """Set claims, and where they stand, beside what was found on each model, and the verdicts."""
    lines = {}
    for about_one in zip(*findings.values(), strict=True):
        claim = about_one[0].claim
        line = {}
        for name, finding in zip(findings, about_one, strict=True):
            line[f"verdict, {name}"] = finding.verdict
            line[f"ours, {name}"] = finding_words(finding)
        line |= {"paper: evidence": claim.evidence, "paper: place": claim.where}
        lines[claim.claim] = line
    counts = "; ".join(f"{name}: {verdict_counts(found)}" for name, found in findings.items())
    data = table(lines, "", "claim").data
    untold = [of for of in data if str(of).startswith("ours, ") and set(data[of]) == {NOT_RUN}]
    return Table(data.drop(columns=untold), f"{title}. {counts}", comparison=True)


def numbers(model: str, found: Mapping[str, Mapping[str, Estimate | Cliff]]) -> Table:
    """Gather a page's numbers by what they are and by task; the build compares them among pages."""
    lines = [
        {"quantity": quantity, "task": TASK_TITLES[task], **_number(it)}
        for quantity, by_task in found.items()
        for task, it in by_task.items()
    ]
    return table(lines, f"The numbers of this page, {model}, with 95 % intervals", "quantity")


def _number(it: Estimate | Cliff) -> dict[str, Any]:
    if isinstance(it, Cliff):
        return {"value": str(it), "items": it.n_calibration}
    return {"value": f"{100 * it:.1f} %", "items": it.n_items}


def finding_words(finding: Any) -> str:
    """What was measured for a claim, task by task, with the verdicts where they differ."""
    if isinstance(finding.measured, str):
        return finding.measured
    differ = len(set(finding.by_task.values())) > 1
    return "; ".join(
        f"{TASK_TITLES[task]} {f'{finding.by_task[task]}: ' if differ else ''}{words}"
        for task, words in finding.measured.items()
    )


def verdict_counts(findings: Sequence[Any]) -> str:
    """How many claims have each verdict, in words."""
    counts = Counter(finding.verdict for finding in findings)
    plurals = {"holds": "hold", "holds in part": "hold in part", "fails": "fail"}
    names = (*plurals, "undecided", "undefined", NOT_RUN)
    many = {name: plurals.get(name, name) if counts[name] > 1 else name for name in names}
    return ", ".join(f"{counts[name]} {many[name]}" for name in names if counts[name])


@dataclass(frozen=True)
class Words:
    """Markdown without HTML; what the page did not write itself goes in by :func:`literal`."""

    text: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/markdown": self.text.replace("&", "&amp;").replace("<", "&lt;"),
            "text/plain": re.sub(rf"\\{_MARKUP}", r"\1", self.text),
        }


_MARKUP = r"([\\`*_\[\]$|~{}!])"


def literal(text: str) -> str:
    """Escape text for a line of :class:`Words`: it is no markup and no formula."""
    return re.sub(_MARKUP, r"\\\1", " ".join(text.split()))


def found(findings: Sequence[Any], lead: str = "") -> Words:
    """Say what a page found of the papers' claims, before all else."""
    lines = [
        f"- {literal(f.claim.claim)} **{f.verdict.capitalize()}**: {literal(finding_words(f))}."
        for f in findings
    ]
    return Words("\n".join([f"**Found.** {lead}", "", *lines]))


def source_words(source: str | Path, tasks: Sequence[str]) -> Words | None:
    """Say whose items a page measures and what they do not allow; None for Shapes."""
    if source == "shapes":
        return None
    origin = "from the hub" if source == "hub" else f"from the folder {literal(str(source))}"
    apart = listed_tasks(tasks, lambda task: reported_split(task) == "held-out", none="")
    others = f" Of {apart} the held-out images are reported; cliffs are chosen on others."
    return Words(
        f"This page asks about the benchmarks' own items ({listed_tasks(tasks)}, {origin}), in "
        f"place of Shapes.{others if apart else ''} Whatever is measured against the region that "
        "an answer can be read from (*on target*) needs Shapes' masks: not run on this source."
    )


@dataclass(frozen=True)
class ProvenanceBox(Shown):
    """Where a page's numbers come from: what lasts, and in the HTML alone what may differ."""

    summary: str
    lasting: Mapping[str, str]
    circumstances: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> str:
        return "\n".join([self.summary, *map(": ".join, self.lasting.items())])
