"""The digest of the code behind a result, and what importing the package costs and gives."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import infoflow
from infoflow.results.sources import ROOT, code_digest

CODE = {
    "data/shapes/world": '"""The world."""\nunit = 1\n',
    "methods/flow": 'def flow():\n    """Say it."""\n    return 1\n',
    "evaluate/flow": "from infoflow.methods.flow import flow\n",
    "evaluate/cam": "",
    "report/charts": "",
    "stats/cliff": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for module, code in CODE.items():
        write(tmp_path / f"{module}.py", code)
    return tmp_path


def write(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)


@pytest.mark.parametrize(
    ("module", "code", "same"),
    [
        ("data/shapes/world", "unit = 2\n", False),
        ("data/shapes/world", "# one\nunit  =  1  # is enough\n", True),
        ("methods/flow", CODE["methods/flow"].replace("Say it.", "Say it aloud."), True),
        ("methods/flow", CODE["methods/flow"].replace("return 1", "return -1"), False),
        ("models/new", "", False),
        ("evaluate/flow", "import os\n", False),
        ("evaluate/cam", "import os\n", True),
        ("report/charts", "import os\n", True),
        ("stats/cliff", "import os\n", True),
    ],
)
def test_the_digest_changes_with_the_code_behind_rows_and_with_nothing_else(
    root: Path, module: str, code: str, same: bool
) -> None:
    digest = code_digest.__wrapped__  # as another process would work it out
    before = digest("infoflow.evaluate.flow", root=root)
    write(root / f"{module}.py", code)
    assert (digest("infoflow.evaluate.flow", root=root) == before) is same


def test_measures_have_digests_of_their_own(root: Path) -> None:
    names = [(), ("infoflow.evaluate.flow",), ("infoflow.evaluate.cam",)]
    assert len({code_digest(*each, root=root) for each in names}) == 3
    assert code_digest("evaluate.cam", root=root) == code_digest(*names[2], root=root)
    with pytest.raises(FileNotFoundError, match="delta"):
        code_digest("infoflow.evaluate.delta")


def test_a_measure_beside_a_notebook_goes_by_the_files_that_it_names(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "beside"
    write(beside / "my_measure.py", "from my_pairs import pairs\n")
    write(beside / "my_pairs.py", "pairs = 1\n")
    write(beside / "my_other.py", "other = 1\n")
    monkeypatch.syspath_prepend(beside)
    monkeypatch.delitem(sys.modules, "my_measure", raising=False)
    importlib.import_module("my_measure")
    before = code_digest("my_measure", root=root)
    write(beside / "my_other.py", "other = 2\n")
    assert code_digest.__wrapped__("my_measure", root=root) == before
    write(beside / "my_pairs.py", "pairs = 2\n")
    assert code_digest.__wrapped__("my_measure", root=root) != before


def test_finding_what_is_stale_and_running_a_notebook_need_not_wait_for_torch() -> None:
    code = "import sys, infoflow.runner, infoflow.results.sources; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    assert all(getattr(infoflow, name) for name in infoflow.__all__)
    tree = ast.parse((ROOT / "__init__.pyi").read_text())
    (listed,) = (node.value for node in tree.body if isinstance(node, ast.Assign))
    assert set(infoflow.__all__) == set(ast.literal_eval(listed))
