"""What a notebook shows: plots, tables, sentences and provenance boxes, for the eye and in words.

Each has two faces: HTML for the book and JupyterLab, and plain text that holds the numbers, which
is what a re-run of the notebook is compared by. Alt texts and captions are made from the data.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from io import BytesIO
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from infoflow.report.style import HOUSE_STYLE

DOTS_PER_INCH = 200
NOT_RUN = "not run"
"""What stands in a table for a value that nobody measured; never 0, never blank."""

MimeBundle = dict[str, str]


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure with what must go with it.

    Attributes:
        figure: The figure.
        alt: What it shows, in a sentence or two with the key numbers.
        caption: What is plotted, of how many items, and what a band or bracket means.
        table: The numbers behind it.
    """

    figure: Figure
    alt: str
    caption: str
    table: pd.DataFrame

    @cached_property
    def png(self) -> bytes:
        """The picture, with the same bytes in every run on one machine."""
        sink = BytesIO()
        with mpl.rc_context(HOUSE_STYLE):
            self.figure.savefig(
                sink,
                format="png",
                dpi=DOTS_PER_INCH,
                facecolor="white",
                bbox_inches="tight",
                metadata={"Software": None},
            )
        return sink.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        from base64 import b64encode

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
    """A table with a caption.

    Attributes:
        data: Cells as they shall be read: round numbers first. The index is the first column.
        caption: What the table holds.
        comparison: Whether it sets the paper beside ours; columns named ``paper...`` are marked.
    """

    data: pd.DataFrame
    caption: str
    comparison: bool = False

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        kind = "table-scroll paper-vs-ours" if self.comparison else "table-scroll"
        head = "".join(_cell("th", name, kind) for name, kind in self._heads())
        body = "".join(f"<tr>{self._row(label, row)}</tr>" for label, *row in self._rows())
        with pd.option_context("display.max_colwidth", None):
            plain = self.data.to_string()
        return {
            "text/html": (
                f'<div class="{kind}" role="region" tabindex="0" '
                f'aria-label="{escape(self.caption)}"><table class="dataframe">'
                f"<caption>{escape(self.caption)}</caption><thead><tr>{head}</tr></thead>"
                f"<tbody>{body}</tbody></table></div>"
            ),
            "text/plain": f"{self.caption}\n{plain}",
        }

    def _heads(self) -> list[tuple[str, str]]:
        """Names of the columns, and the class that sets those of words to the left."""
        named = [(str(name), self.data[name]) for name in self.data.columns]
        worded = [(n, "words" if all(isinstance(v, str) for v in c) else "") for n, c in named]
        return [(str(self.data.index.name or ""), ""), *worded]

    def _rows(self) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.data.itertuples()]

    def _row(self, label: Any, values: Sequence[Any]) -> str:
        cells = zip(self.data.columns, values, strict=True)
        return _cell("th", label) + "".join(self._value(str(name), v) for name, v in cells)

    def _value(self, column: str, value: Any) -> str:
        if value == NOT_RUN:
            return _cell("td", value, "not-run")
        marks = {
            "paper": self.comparison and column.startswith("paper"),
            "words": isinstance(value, str),
        }
        return _cell("td", value, " ".join(name for name, marked in marks.items() if marked))


@dataclass(frozen=True)
class Words:
    """A sentence made from the data, in Markdown without HTML.

    What the page did not write itself goes in through :func:`literal`.
    """

    text: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        return {
            "text/markdown": self.text.replace("&", "&amp;").replace("<", "&lt;"),
            "text/plain": re.sub(rf"\\{_MARKUP}", r"\1", self.text),
        }


def literal(text: str) -> str:
    """Let text stand as it is within a line of :class:`Words`: it is no markup and no formula.

    Args:
        text: An answer, a name, a path: whatever is not written by the page itself.
    """
    return re.sub(_MARKUP, r"\\\1", " ".join(text.split()))


_MARKUP = r"([\\`*_\[\]$|~{}!])"


@dataclass(frozen=True)
class ProvenanceBox:
    """Where a page's numbers come from, folded away under one line.

    Attributes:
        summary: The line.
        lasting: What another run of the page must reproduce.
        circumstances: What may differ between runs: machine, versions, cost. Only in the HTML.
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


def provenance_box(*frames: pd.DataFrame, parameters: Mapping[str, Any]) -> ProvenanceBox:
    """Describe where the rows of a page come from.

    Args:
        *frames: Results of :mod:`infoflow.evaluate`, all of one model.
        parameters: The page's own parameters.

    Returns:
        The box.
    """
    records = [frame.attrs["record"] for frame in frames]
    first = records[0]["provenance"]
    model, machine = first["model"], first["machine"]
    counts = {_data(record): f["item"].nunique() for record, f in zip(records, frames, strict=True)}
    seconds = sum(record.get("seconds", 0.0) for record in records)
    peak = max(record.get("peak_rss_mb", 0.0) for record in records)
    codes = sorted({record["provenance"]["code"]["digest"][:12] for record in records})
    return ProvenanceBox(
        summary=f"Provenance: {model['name']}, {sum(counts.values())} answers to "
        f"{len(counts)} sets of items",
        lasting={
            "model": model["name"],
            "revision": model["revision"] or "none: local weights",
            "weights digest": model["digest"],
            "items": "; ".join(f"{name}: {count}" for name, count in counts.items()),
            "parameters": _listed(parameters),
            "measured with": "; ".join(
                sorted({_listed(record["key"]["parameters"]) for record in records})
            ),
            "dtype, attention": f"{model['dtype']}, {model['attention']}",
        },
        circumstances={
            "part of the set": _parts_of_sets(records, frames),
            "device": f"{machine['device']} ({machine['device_name']}), "
            f"{machine['threads']} threads, Python {machine['python']}",
            "code digest": f"{', '.join(codes)}; commit {first['code']['commit'] or 'unknown'}",
            "packages": _listed(first["packages"]),
            "wall time, peak memory": f"{seconds:.1f} s measuring, {peak:.0f} MB",
        },
    )


def _data(record: Mapping[str, Any]) -> str:
    data = record["provenance"]["data"]
    return f"{record['key']['measure']} on {data['task']} {data['split']} ({data['source']})"


def _parts_of_sets(records: Sequence[Mapping[str, Any]], frames: Sequence[pd.DataFrame]) -> str:
    """Say of which sets only some items were measured."""
    told = set()
    for record, frame in zip(records, frames, strict=True):
        data = record["provenance"]["data"]
        count, whole = frame["item"].nunique(), data.get("of")
        if whole is None:
            told.add(f"{count} of {data['task']} {data['split']}, a set of unknown size")
        elif count < whole:
            told.add(f"only {count} of the {whole} items of {data['task']} {data['split']}")
    return "; ".join(sorted(told)) or "no: all items of each"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _cell(tag: str, value: Any, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<{tag}{attribute}>{escape(str(value))}</{tag}>"
