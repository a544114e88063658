"""What a piece of code rests on, as its imports tell."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from infoflow.sources import ROOT, code_digest, notebook_files, room_files

ROOMS = {
    "__init__": "from infoflow.alpha import alpha, second\nfrom .tasks import Task as Job\n"
    "from .gamma import gamma\n__version__ = '1'\n",
    "base": "unit = 1\n",
    "alpha": '"""Alpha."""\nfrom .base import unit\n\n'
    'def alpha():\n    """Say it."""\n    return unit\n',
    "beta": "def beta():\n    from infoflow import gamma\n",
    "gamma": "import json\n",
    "tasks/__init__": "from .common import Task\nlimit = 1\n",
    "tasks/common": "from .. import errors\nfrom infoflow.tasks import words\n",
    "tasks/words": "",
    "figures/__init__": '"""Figures."""\nfrom infoflow.figures.bars import bars\n'
    'from .lines import lines\n\n__all__ = ["bars", "lines"]\n',
    "figures/bars": "from infoflow import base\n",
    "figures/lines": "",
    "tasks/other": "import infoflow.base\n",
    "errors": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "infoflow"
    for room, code in ROOMS.items():
        path = folder / f"{room}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return folder


def rooms(files: set[Path], root: Path) -> set[str]:
    return {path.relative_to(root).with_suffix("").as_posix() for path in files}


TASKS = {"tasks/__init__", "tasks/common", "tasks/words", "errors"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import numpy\nfrom pathlib import Path", set()),
        ("from infoflow import alpha", {"alpha", "base"}),
        ("from infoflow import second as s", {"alpha", "base"}),
        ("from infoflow.alpha import alpha", {"alpha", "base"}),
        ("import infoflow.alpha as a", {"alpha", "base"}),
        ("import infoflow\ninfoflow.alpha()", {"alpha", "base"}),
        ("import infoflow as i\ni.Job", TASKS),
        ("from infoflow import Job", TASKS),
        ("from infoflow import gamma", {"gamma"}),
        ("from infoflow import beta", {"beta", "gamma"}),
        ("from infoflow.tasks.other import x", {"tasks/other", "base"} | TASKS),
        ("def later():\n    from infoflow import base", {"base"}),
        ("from infoflow import __version__", set()),
        ("from infoflow.figures import bars", {"figures/bars", "base"}),
        ("from infoflow import figures\nfigures.lines()", {"figures/lines"}),
        ("from infoflow.figures.lines import lines", {"figures/lines"}),
        ("import infoflow.figures as f\nf.lines()", {"figures/lines"}),
        ("import infoflow.figures", {"figures/bars", "figures/lines", "base"}),
        ("from infoflow import *", {"alpha", "base", "gamma"} | TASKS),
        ("%matplotlib inline\n!ls\nfrom infoflow import base", {"base"}),
        ("not python at all", {*ROOMS}),
    ],
)
def test_a_notebook_rests_on_the_rooms_behind_its_imports(
    root: Path, code: str, expected: set[str]
) -> None:
    notebook = root / "a.ipynb"
    cells = [new_code_cell("%%html\n<b>from infoflow import beta</b>"), new_code_cell(code)]
    nbformat.write(new_notebook(cells=cells), notebook)
    assert rooms(notebook_files(notebook, root), root) == expected


def test_an_unknown_room_is_an_error(root: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="delta"):
        room_files(["infoflow.delta"], root)


@pytest.mark.parametrize(
    ("room", "code", "same"),
    [
        ("base", "unit = 2\n", False),
        ("base", "# one\nunit  =  1  # is enough\n", True),
        ("alpha", ROOMS["alpha"].replace("Say it.", "Say it aloud."), True),
        ("alpha", ROOMS["alpha"].replace("return unit", "return -unit"), False),
        ("gamma", "import os\n", True),
        ("__init__", "from infoflow.base import unit\n", True),
    ],
)
def test_the_digest_changes_with_the_code_and_with_nothing_else(
    root: Path, room: str, code: str, same: bool
) -> None:
    before = code_digest("alpha", root=root)
    assert code_digest("infoflow.alpha", root=root) == before
    (root / f"{room}.py").write_text(code)
    assert (code_digest("alpha", root=root) == before) is same


def test_the_library_itself_is_resolved() -> None:
    found = rooms(room_files(["infoflow.store"]), ROOT)
    assert {"store", "parts", "files", "errors", "provenance"} <= found
    assert not {"cli", "runner"} & found


def test_the_room_imports_the_standard_library_alone() -> None:
    """The build loads it by its path, before it knows whether torch is needed."""
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse((ROOT / "sources.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= {"ast", "hashlib", "json", "collections.abc", "pathlib"}
