"""A wrong number in the library makes a notebook's re-run differ from what is stored.

One notebook goes through nbval itself; ``test_mutations.py`` tries them all, in one process.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import infoflow

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(infoflow.__file__).parent


def rerun(notebook, library, results):
    """Run nbval on a notebook with a library of its own; return what pytest says."""
    environment = {
        **os.environ,
        **{"PYTHONPATH": os.pathsep.join([str(library), os.environ.get("PYTHONPATH", "")])},
        **{"INFOFLOW_RESULTS": str(results), "INFOFLOW_QUIET": "1", "OMP_NUM_THREADS": "1"},
    }
    command = [
        *(sys.executable, "-m", "pytest", str(ROOT / "notebooks" / f"{notebook}.ipynb")),
        *("--nbval", "--nbval-current-env", "--nbval-cell-timeout", "300"),
        *("-p", "no:cacheprovider", "-p", "no:xdist", "--color=no"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def library_with(tmp_path, module, right, wrong):
    """Copy the package and put one mistake into it; the weights are linked, not copied."""
    copy = tmp_path / "infoflow"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("zoo", "__pycache__"))
    (copy / "zoo").symlink_to(PACKAGE / "zoo")
    source = (copy / module).read_text()
    assert source.count(right) == 1
    (copy / module).write_text(source.replace(right, wrong))
    return tmp_path


@pytest.mark.slow
def test_a_wrong_number_is_noticed(tmp_path):
    library = library_with(tmp_path, "methods/cam.py", "THRESHOLD = 0.5", "THRESHOLD = 0.1")
    said = rerun("own_picture", library, tmp_path / "results")
    assert re.search(r"\d+ passed", said), said  # the run itself works, with cells that agree
    assert re.search(r"\d+ failed", said), said
    assert "Cell outputs differ" in said
    assert "cam_slider(cam" in said  # the cell that differs
    assert "Cell execution caused an exception" not in said
