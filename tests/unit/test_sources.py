"""What a piece of code rests on, as its imports tell."""

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import infoflow
from infoflow.results.sources import ROOT, code_digest, notebook_files, room_files

ROOMS = {
    "__init__": "import lazy_loader\n__version__ = '1'\n",
    "__init__.pyi": "from infoflow.alpha import alpha, second\nfrom .tasks import Task as Job\n"
    "from .gamma import gamma\n",
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
        path = file_of(room, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return folder


def file_of(room: str, root: Path) -> Path:
    return root / (room if room.endswith(".pyi") else f"{room}.py")


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
        ("not python at all", {*ROOMS} - {"__init__.pyi"}),
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
        ("__init__.pyi", "from infoflow.base import unit\n", True),
    ],
)
def test_the_digest_changes_with_the_code_and_with_nothing_else(
    root: Path, room: str, code: str, same: bool
) -> None:
    before = code_digest("alpha", root=root)
    assert code_digest("infoflow.alpha", root=root) == before
    file_of(room, root).write_text(code)
    assert (code_digest("alpha", root=root) == before) is same


def test_the_library_itself_is_resolved() -> None:
    found = rooms(room_files(["infoflow.results.store"]), ROOT)
    assert {"results/store", "results/parts", "files", "errors", "results/provenance"} <= found
    assert not {"cli", "runner"} & found


def test_the_public_names_of_the_library_are_resolved(tmp_path: Path) -> None:
    notebook = tmp_path / "a.ipynb"
    nbformat.write(
        new_notebook(cells=[new_code_cell("from infoflow import list_models")]), notebook
    )
    found = rooms(notebook_files(notebook), ROOT)
    assert {"models/families/__init__", "models/families/llava"} <= found
    assert "methods/cam" not in found


def test_finding_what_is_stale_and_running_a_notebook_need_not_wait_for_torch() -> None:
    code = "import sys, infoflow.results.sources, infoflow.runner; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    assert all(getattr(infoflow, name) for name in infoflow.__all__)
    assert set(infoflow.__all__) == set(public_names())


def public_names() -> list[str]:
    """What the type checker is told."""
    tree = ast.parse((ROOT / "__init__.pyi").read_text())
    told = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    return list(ast.literal_eval(told))
