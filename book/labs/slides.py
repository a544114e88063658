"""Make a lab's slides: its headings, what they begin with, its figures and its result.

A deck is one file that works from disk; ``slides.html`` holds its style and the arrow keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from nbformat import NotebookNode

if TYPE_CHECKING:
    from generate import Cell

_SENTENCES = re.compile(r"(?:.*?[.?!](?=\s+\D|$)){1,3}", re.DOTALL)  # not after "Eq." of Eq. 9
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")  # leads nowhere from a slide
_TEMPLATE = Path(__file__).with_name("slides.html")


def deck(cells: list[Cell], page: NotebookNode) -> str:
    """Make a lab's deck from its source's cells and the notebook with its solution's outputs."""
    outputs = {cell.source: cell.outputs for cell in page.cells if "outputs" in cell}
    slides: list[str] = []
    for cell in cells:
        if cell.kind == "markdown":
            slides += _sections(cell.text)
        elif cell.kind == "figure":
            (image,) = (each for each in outputs[cell.text] if "data" in each)
            slides.append(_figure(image.data["image/png"].strip(), cell.notes))
        elif cell.kind == "result":
            said = "".join(each.text for each in outputs[cell.text] if "text" in each)
            slides.append(f"<h2>What came out</h2>\n<pre>{escape(said)}</pre>")
    sections = "\n".join(f"<section>\n{slide}\n</section>" for slide in slides)
    title = escape(cells[0].text.splitlines()[0].removeprefix("# "))
    return _TEMPLATE.read_text("utf-8").replace("{title}", title).replace("{slides}", sections)


def _figure(png: str, notes: dict[str, str]) -> str:
    image = f'<img src="data:image/png;base64,{png}" alt="{escape(notes["alt"])}">'
    return f"<figure>{image}\n<figcaption>{escape(notes['caption'])}</figcaption></figure>"


def _sections(text: str) -> Iterator[str]:
    """Make a slide of each heading: a list or a quotation whole, else three sentences.

    A lab's title keeps three paragraphs: what, aims, what is needed.
    """
    for section in re.split(r"^(?=#{1,2} )", text, flags=re.MULTILINE):
        if section.startswith("#"):
            heading, *blocks = section.strip().split("\n\n")
            kept = blocks[: 3 if heading.startswith("# ") else 1]
            short = [block if block[0] in "->" else _shortened(block) for block in kept]
            yield MarkdownIt().render(_LINK.sub(r"\1", "\n\n".join([heading, *short]))).strip()


def _shortened(block: str) -> str:
    found = _SENTENCES.match(block)
    return found[0] if found else block
