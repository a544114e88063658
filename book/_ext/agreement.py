"""Sphinx extension: the build fails where two pages print one quantity differently.

Pages that speak of a claim show what was measured for it, task by task, with its numbers of items;
a page's table of numbers has its scores and cliffs. The same claim, or quantity, on the same model
and task must read the same on all of them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evidence import table_rows
from sphinx.application import Sphinx
from sphinx.util import logging

from infoflow.report import TASK_TITLES

_TASK = re.compile(rf"(?:^|; )({'|'.join(TASK_TITLES.values())}) (?:[a-z ]+: )?")
Statement = tuple[str, str, str, str]
"""Claim, whose measurement it is, task or nothing, and what was measured."""


def statements(notebook: Path) -> Iterator[Statement]:
    """Read off an executed notebook what its tables of findings and of numbers say."""
    for row in table_rows(notebook, "claim"):
        for head, words in row.items():
            if head.startswith("ours, "):
                yield from ((row["claim"], head, *part) for part in _by_task(words))
    for row in table_rows(notebook, "quantity"):
        yield row["quantity"], "ours", row["task"], f"{row['value']} ({row['items']} items)"


def _by_task(words: str) -> Iterator[tuple[str, str]]:
    """Take words apart by task; a verdict before them stands only where tasks differ."""
    first, *others = _TASK.split(words)
    if first:
        yield "", first
    yield from zip(others[::2], others[1::2], strict=True)


def disagreements(notebooks: Iterable[Path]) -> list[str]:
    """Say what pages of one model print differently."""
    said: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for notebook in sorted(notebooks):
        for claim, whose, task, words in statements(notebook):
            said[claim, whose, task].setdefault(words, notebook.stem)
    return [
        f"{claim!r}, {whose} {task}: " + "; ".join(f"{page} says {w!r}" for w, page in by.items())
        for (claim, whose, task), by in said.items()
        if len(by) > 1
    ]


def _check(app: Sphinx, _env: Any) -> None:
    for folder in sorted(
        path for path in (Path(app.srcdir) / "book/runs").glob("*") if path.is_dir()
    ):
        for line in disagreements(folder.glob("*.ipynb")):
            logging.getLogger(__name__).warning("pages disagree: %s", line)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("env-check-consistency", _check)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
