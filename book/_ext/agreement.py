"""Sphinx extension: the build fails where two pages print one quantity differently.

Pages that speak of a claim show what was measured for it, task by task, with its numbers of items;
a page's table of numbers has its scores and cliffs. The same claim, or quantity, on the same model
and task must read the same on all of them; a cliff also where another model's page shows it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from evidence import table_rows
from sphinx.application import Sphinx
from sphinx.util import logging

from infoflow.report import NOT_RUN, TASK_TITLES

_TASK = re.compile(rf"(?:^|; )({'|'.join(TASK_TITLES.values())}) (?:[a-z ]+: )?")
Statement = tuple[str, str, str, str]
"""Claim, whose measurement it is, task or nothing, and what was measured."""


def statements(notebook: Path) -> Iterator[Statement]:
    """Read off an executed notebook what its tables of findings and of numbers say."""
    for row in table_rows(notebook, "claim"):
        for head, words in row.items():
            if head.startswith(("ours, ", "seeds, ")):
                yield from ((row["claim"], head, *part) for part in _by_task(words))
    for row in table_rows(notebook, "quantity"):
        yield row["quantity"], "ours", row["task"], f"{row['value']} ({row['items']} items)"


def _by_task(words: str) -> Iterator[tuple[str, str]]:
    """Take words apart by task; a verdict before them stands only where tasks differ."""
    first, *others = _TASK.split(words)
    if first:
        yield "", first
    yield from zip(others[::2], others[1::2], strict=True)


def cliffs(notebook: Path) -> Iterator[Statement]:
    """Read off a model's executed notebook cliffs, of its own model and of those beside it."""
    for row in table_rows(notebook, "quantity"):
        if row["quantity"].startswith("cliff"):  # of the model, or behind a comma of another seed
            whose = notebook.parent.name + row["quantity"].removeprefix("cliff")
            yield "cliff", whose, row["task"], row["value"]
    for row in table_rows(notebook, "zoo model"):
        for title in set(row) & set(TASK_TITLES.values()):
            if row[title] != NOT_RUN:
                yield "cliff", row["zoo model"], title, row[title]


def disagreements(
    notebooks: Iterable[Path], said_by: Callable[[Path], Iterator[Statement]] = statements
) -> list[str]:
    """Say what pages print differently; by default pages of one model, of all that they say."""
    said: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for notebook in sorted(notebooks):
        for claim, whose, task, words in said_by(notebook):
            said[claim, whose, task].setdefault(words, notebook.stem)
    return [
        f"{claim!r}, {whose} {task}: " + "; ".join(f"{page} says {w!r}" for w, page in by.items())
        for (claim, whose, task), by in said.items()
        if len(by) > 1
    ]


def _check(app: Sphinx, _env: Any) -> None:
    runs = Path(app.srcdir) / "book/runs"
    lines = disagreements(runs.glob("*/*.ipynb"), cliffs)
    for folder in sorted(path for path in runs.glob("*") if path.is_dir()):
        lines += disagreements(folder.glob("*.ipynb"))
    for line in lines:
        logging.getLogger(__name__).warning("pages disagree: %s", line)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("env-check-consistency", _check)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
