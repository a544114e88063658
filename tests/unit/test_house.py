"""The architecture: rooms, the direction of imports, and how large anything may grow."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

import infoflow

LIBRARY = Path(infoflow.__file__).parent
ROOT = LIBRARY.parents[1]

# each room stands on those before it; report stands on data and models alone
FLOORS = [
    {"errors", "files", "options", "parameters"},
    {"stats", "data", "models"},
    {"hooks"},
    {"interventions"},
    {"methods"},
    {"results"},
    {"evaluate"},
    {"claims", "report"},
]
GROUND, *_ = FLOORS
ROOMS = set().union(*FLOORS)
BESIDE = {"models": {"data"}}  # what may rest on a room of its own floor
ALLOWED = {
    room: set().union(*FLOORS[:floor]) | BESIDE.get(room, GROUND if floor == 0 else set()) | {room}
    for floor, rooms in enumerate(FLOORS)
    for room in rooms
} | {"report": GROUND | {"stats", "data", "models", "report"}}
HEAVY = {"stats": {"torch", "pandas", "transformers"}, "report": {"torch"}}

MODULES = sorted(path for path in LIBRARY.rglob("*.py") if "zoo" not in path.parts[-3:])


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@cache
def imports_of(path: Path) -> set[str]:
    """All that a module imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write the whole name"
            names = {alias.name for alias in node.names}
            within = node.module == "infoflow"
            found |= {f"infoflow.{name}" for name in names} if within else {str(node.module)}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_a_module_rests_on_what_is_below_it(path: Path) -> None:
    room = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    own = {name for name in imports_of(path) if name.split(".")[0] == "infoflow"}
    assert not {name for name in imports_of(path) if name.split(".")[0] in {"zoo", "benchmarks"}}
    assert not {name.split(".")[0] for name in imports_of(path)} & HEAVY.get(room, set())
    if room in ALLOWED:
        assert {room_of(name) for name in own} <= ALLOWED[room]


def test_no_circle_of_modules() -> None:
    names = names_of()
    graph = {module: imports_of(path) & set(names) for module, path in names.items()}
    done: set[str] = set()
    while ready := {module for module, below in graph.items() if below - {module} <= done} - done:
        done |= ready
    assert not set(graph) - done, "these import each other"


def names_of() -> dict[str, Path]:
    return {
        ".".join(["infoflow", *path.relative_to(LIBRARY).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): path
        for path in MODULES
    }


def test_methods_know_no_task() -> None:
    for path in (LIBRARY / "methods").rglob("*.py"):
        assert "Task" not in path.read_text("utf-8"), path


def test_the_library_reads_nothing_of_the_book() -> None:
    for path in MODULES:
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert "book" not in strings, path


LINES = 13_400
"""The budget is 12,000, and 700 each for routes with rival maps and for other architectures. What
is above it are the course's mystery models and the family of tests."""


def test_sizes() -> None:
    lines = sum(path.read_text("utf-8").count("\n") for path in MODULES)
    assert lines <= LINES
    assert len(list(LIBRARY.glob("*.py"))) <= 8
    for folder in {path.parent for path in MODULES} - {LIBRARY}:
        assert len(list(folder.glob("*.py"))) <= 14, folder


PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
HELPERS = {path.stem: path.read_text("utf-8") for path in (ROOT / "notebooks").glob("*_*.py")}


@cache
def cells_of(path: Path) -> str:
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@cache
def helpers_of(code: str) -> set[str]:
    """The files beside the pages that code names, and those that they name."""
    found, texts = set[str](), [code]
    while texts:
        text = texts.pop()
        new = {name for name in HELPERS if re.search(rf"\b{name}\b", text)} - found
        texts += [HELPERS[name] for name in new]
        found |= new
    return found


def code_lines(code: str) -> int:
    """Count lines that are not blank, a comment or a docstring."""
    texts = [
        range(node.lineno, node.end_lineno + 1)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    lines = enumerate(map(str.strip, code.splitlines()), start=1)
    code_alone = (n for n, line in lines if line and not line.startswith("#"))
    return len(set(code_alone).difference(*texts))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_is_short(path: Path) -> None:
    lines = [line for line in cells_of(path).splitlines() if line.strip()]
    assert len(lines) <= 255
    assert "page_parameters = {" not in "\n".join(lines)
    others = [helpers_of(cells_of(page)) for page in PAGES if page != path]
    own = helpers_of(cells_of(path)).difference(*others)
    assert len(lines) + sum(code_lines(HELPERS[name]) for name in own) <= 260


@pytest.mark.parametrize("name", sorted(HELPERS))
def test_a_helper_file_is_short(name: str) -> None:
    assert len(HELPERS[name].splitlines()) <= 280
