"""Pictures to go through one by one: a contact sheet, which a script turns into a scrubber.

The frames are in the page once, drawn beforehand. Without the script (``scrubber.js`` among the
book's static files), as in JupyterLab, the reader sees all of them side by side.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from infoflow.report.display import MimeBundle, Table

_SHEET = "display:grid;grid-template-columns:repeat(auto-fill,minmax(5.5rem,1fr));gap:0.5rem"
"""The layout without a stylesheet, too: side by side, as many as fit."""


@dataclass(frozen=True)
class Frame:
    """One picture of a scrubber.

    Attributes:
        name: What it is, in a word or two: ``"layer 3"``.
        words: What there is to see, in a sentence.
        png: The picture; None where there is none to be drawn.
        absent: What stands in its place then, such as ``"undefined"``.
    """

    name: str
    words: str
    png: bytes | None
    absent: str = ""


@dataclass(frozen=True, eq=False)
class Scrubber:
    """A row of pictures with what must go with them.

    Attributes:
        frames: The pictures.
        label: What is moved through, for the slider.
        caption: What is drawn, and what the finding is.
        table: The numbers behind the pictures, as they shall be read.
        numbers: What the table holds.
    """

    frames: Sequence[Frame]
    label: str
    caption: str
    table: pd.DataFrame
    numbers: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        sheet = "".join(_figure(frame) for frame in self.frames)
        table = Table(self.table, self.numbers)._repr_mimebundle_()
        return {
            "text/html": (
                f'<figure class="plot scrubber" data-label="{escape(self.label)}">'
                f'<div class="frames" style="{_SHEET}">{sheet}</div>'
                f"<figcaption>{escape(self.caption)}</figcaption></figure>"
                f"<details><summary>{escape(self.numbers)}</summary>{table['text/html']}</details>"
            ),
            "text/plain": f"{self.caption}\n{table['text/plain']}",
        }


def _figure(frame: Frame) -> str:
    return (
        f'<figure class="frame" style="margin:0" data-words="{escape(frame.words)}">'
        f"{_picture(frame)}<figcaption>{escape(frame.name)}</figcaption></figure>"
    )


def _picture(frame: Frame) -> str:
    if frame.png is None:
        return f'<p class="absent">{escape(frame.absent)}</p>'
    source = b64encode(frame.png).decode("ascii")
    return (
        f'<img alt="{escape(frame.words)}" style="width:100%" src="data:image/png;base64,{source}">'
    )
