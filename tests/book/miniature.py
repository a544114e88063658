"""A small project with the repository's own Makefile, Snakefile and runner, to build in seconds."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import forked
import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
REAL = ["Makefile", "Snakefile", "experiments.schema.yml", "requirements.lock", "pyproject.toml"]
MODULES = ["cli", "errors", "files", "options", "parameters", "runner"]

CONFIG = """
title: A book
only_build_toc_files: true
exclude_patterns: [_build, lib, notebooks]
execute: {execute_notebooks: "off"}
"""
TOC = """
format: jb-book
root: book/intro
chapters: [{glob: book/runs/*/*}]
"""

PARAMETERS = "model: str = 'tiny'\ncheckpoint: str | None = None\nlimit: int = 5"
HOLD = """
import time
from pathlib import Path

while Path("hold").exists():
    Path("held").touch()
    time.sleep(0.05)
"""

RECORDER = """
import json

from infoflow.parameters import full_set


def run_notebook(notebook, target, values, *, error_page, title):
    target.write_text(json.dumps(full_set(notebook, values)))
    return target
"""


RECORD_CALL = """#!/bin/sh
folder=$(dirname "$0")
printf '%s\\0' "$@" > "$folder/call"
env -0 > "$folder/given"
"""


class Project:
    """A clone in miniature: two notebooks, of which one has a helper, and a third on no model."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.experiments = {
            "models": ["tiny"],
            "notebooks": {
                "first": {"seconds": 2, "parameters": {"limit": 3}, "models": ["tiny"]},
                "second": {"seconds": 3},
                "third": {"seconds": 4, "models": []},
            },
        }

    def create(self) -> None:
        for name in REAL:
            shutil.copy(ROOT / name, self.root)
        for name in MODULES:
            source = ROOT / "lib" / "infoflow" / f"{name}.py"
            self.write(f"lib/infoflow/{name}.py", source.read_text())
        self.write("lib/infoflow/alpha.py", "alpha = 10\n")
        self.write("lib/infoflow/beta.py", "beta = 20\n")
        self.write(
            "lib/infoflow/__init__.py",
            "from infoflow.alpha import alpha\nfrom infoflow.beta import beta\n"
            "def list_models():\n    return ['tiny', 'from-the-hub']\n",
        )
        self.write(
            "lib/infoflow/evaluate/costs.py",
            "def costs_text(models):\n    return f'to be expected of {models}'\n",
        )
        self.write("lib/infoflow/zoo/tiny/card.json", "{}")
        self.write("notebooks/strokes.py", "unit = 1\n")
        self.write("notebooks/drawing.py", "from strokes import unit\n\n__all__ = ['unit']\n")
        imports = "from drawing import unit\n\nfrom infoflow import alpha"
        self.notebook("first", imports, HOLD, "print(model, limit, alpha * unit)")
        self.notebook("second", "from infoflow.beta import beta", "print(model, limit, beta)")
        self.notebook("third", "print('no model', limit)", parameters="limit: int = 5")
        self.write("_config.yml", CONFIG)
        self.write("_toc.yml", TOC)
        self.write("book/intro.md", "# A book\n")
        self.write(".installed", "")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def copy_to(self, root: Path) -> "Project":
        """Copy the project as it was built: times are kept, for the build goes by them too."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return Project(root)

    def notebook(self, name: str, *cells: str, parameters: str = PARAMETERS) -> None:
        code = [new_code_cell(cell, id=f"c{number}") for number, cell in enumerate(cells)]
        tagged = new_code_cell(parameters, id="p", metadata={"tags": ["parameters"]})
        notebook = new_notebook(cells=[new_markdown_cell(f"# {name}", id="t"), tagged, *code])
        self.write(f"notebooks/{name}.ipynb", nbformat.writes(notebook))

    def command(self, target: str, **variables: str) -> list[str]:
        self.write("experiments.yml", yaml.safe_dump(self.experiments))
        settings = {"BIN": str(Path(sys.executable).parent), "INSTALLED": ".installed"} | variables
        return ["make", target, *(f"{name}={value}" for name, value in settings.items())]

    def environment(self) -> dict[str, str]:
        # neither a test runner's own setting of the store nor an outer make must reach the project
        own = ("INFOFLOW", "MAKE", "MFLAGS")
        kept = {k: v for k, v in os.environ.items() if not any(name in k for name in own)}
        return kept | {"PYTHONPATH": str(self.root / "lib")}

    def make(self, target: str = "book", **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(target, **variables),
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def called(
        self, target: str, *options: str, only: Sequence[str] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """What `make` does, by its very call of Snakemake, but without the start-up of either.

        Args:
            target: One of the Makefile's.
            options: Of Snakemake, besides those that the Makefile gives.
            only: Runs to make instead of the book: ``"tiny/first"``.
            variables: Of the Makefile.
        """
        return forked.snakemake(*self.call(target, *options, only=only, **variables))

    def call(
        self, target: str, *options: str, only: Sequence[str] = (), **variables: str
    ) -> tuple[list[str], Path, dict[str, str]]:
        """Snakemake's arguments, folder and environment in that call."""
        command = self.command(target, **variables | {"BIN": str(self.recorder())})
        environment = self.environment()
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        call, given = ((self.root / "bin" / name).read_text() for name in ("call", "given"))
        environment = dict(each.split("=", 1) for each in given.split("\0") if each)
        runs = (f"book/runs/{run}.ipynb" for run in only)
        arguments = call.split("\0")[2:-1]  # without -m snakemake
        return [*runs, *arguments, *options], self.root, environment

    def recorder(self) -> Path:
        """A folder whose Python only writes down how it was called."""
        self.write("bin/python", RECORD_CALL)
        (self.root / "bin" / "python").chmod(0o755)
        return self.root / "bin"

    def record_instead_of_running(self) -> None:
        """Let a run be a note of the parameters that the notebook would be given."""
        self.write("lib/infoflow/runner.py", RECORDER)

    def given(self, run: str) -> dict[str, Any]:
        """All the parameters of a recorded run, by name."""
        return json.loads((self.root / f"book/runs/{run}.ipynb").read_text())

    def results(self) -> dict[str, bytes]:
        runs = self.root / "book" / "runs"
        return {str(path.relative_to(runs)): path.read_bytes() for path in files_in(runs)}

    def stamps(self) -> dict[str, int]:
        """When each run and the rendering were last written."""
        index = self.root / "_build" / "html" / "index.html"
        written = [*files_in(self.root / "book" / "runs"), *([index] if index.exists() else [])]
        return {path.stem: path.stat().st_mtime_ns for path in written}

    def stale(self) -> set[str]:
        """What a build would make anew, by Snakemake's dry run."""
        said = self.called("stale")
        assert said.returncode == 0, said.stderr
        runs = re.findall(r"wildcards: run=(\S+)", said.stdout)
        return {*runs, *(["book"] if "rule book:" in said.stdout else [])}


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
