"""What a newcomer and the build server run fails when something in it fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >> "$SAID"
case "$(basename "$0") $*" in *"$FAILING"*) exit 1;; esac
"""


def tools(folder: Path, *names: str) -> Path:
    """Make programs that only write down how they were called, and fail where they are to."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(TOOL)
        (folder / name).chmod(0o755)
    return folder


def run(command: list[str], cwd: Path, failing: str, **variables: str) -> tuple[int, list[str]]:
    """Run a command; return its exit status, and the calls of the tools."""
    said = cwd / "said.txt"
    own = {k: v for k, v in os.environ.items() if "MAKE" not in k and "MFLAGS" not in k}
    environment = {**own, "SAID": str(said), "FAILING": failing, **variables}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False)
    return done.returncode, said.read_text().splitlines()


@pytest.mark.parametrize(
    ("failing", "n_calls"),
    [
        ("nothing", 4),
        ("ruff check", 1),
        ("ruff format", 2),
        ("mypy", 4),  # beside the tests, which go on
        ("pytest notebooks tests", 4),
    ],
)
def test_make_test_fails_when_a_part_of_it_fails(
    tmp_path: Path, failing: str, n_calls: int
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml", ".installed"):  # the last is newest
        (tmp_path / name).touch()
    folder = tools(tmp_path / "bin", "ruff", "mypy", "pytest")
    command = ["make", "test", f"BIN={folder}", "INSTALLED=.installed"]
    status, calls = run(command, tmp_path, failing)
    assert (status == 0) == (failing == "nothing")
    assert len(calls) == n_calls


@pytest.mark.parametrize(
    ("failing", "calls"),
    [
        ("nothing", ["make book", "make test"]),
        ("make book", ["make book"]),
        ("make test", ["make book", "make test"]),
    ],
)
def test_the_build_server_fails_when_the_book_or_a_test_fails(
    tmp_path: Path, failing: str, calls: list[str]
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    folder = tools(tmp_path / "bin", "make", "chromium")
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    status, said = run([str(tmp_path / ".ci" / "run")], tmp_path, failing, PATH=path)
    assert (status == 0) == (failing == "nothing")
    assert said == calls
