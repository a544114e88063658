"""A notebook's cells run in this very process: no kernel, no pictures, only what is compared."""

import ast
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image

from infoflow.data.load import BENCHMARKS
from infoflow.report import Plot

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"

SMALL = {
    **{
        "limit": 2,
        "cam_limit": 1,
        "road_limit": 2,
        "cliff_limit": 2,
        "lens_limit": 2,
        "n_control": 1,
        "n_samples": 1,
        "site_samples": 1,
        "n_perturbed": 1,
        "n_shown": 1,
        "per_task": 1,
    },
    **{"ignored": [124, 432], "contrasts": [124], "factors": [0.5, 1.0], "n_layers_swept": 2},
    **{"picture_item": 0, "picture_items": [0], "picture_tasks": ["chair"], "task_samples": 1},
}
"""Parameters that make a run short, whatever they come to; used where a notebook has them."""


def parameters_of(name: str) -> dict[str, Any]:
    """The defaults of a notebook's parameters cell."""
    values: dict[str, Any] = {}
    exec(_cells(name, tagged=True)[0], values)
    return {key: value for key, value in values.items() if not key.startswith("__")}


def run_cells(name: str, **changed: Any) -> list[str]:
    """Run a notebook with some parameters changed; return what it shows, as nbval compares it."""
    return list(shown_by_cells(name, **changed))


def shown_by_cells(name: str, **changed: Any) -> Iterator[str]:
    """Run a notebook's cells one after the other, each when what it shows is asked for."""
    shown: list[str] = []
    scope: dict[str, Any] = {"__name__": "__main__", "display": lambda x: shown.append(plain(x))}
    scope |= parameters_of(name) | changed
    for number, source in enumerate(_cells(name, tagged=False)):
        tree = ast.parse(source)
        last = tree.body[-1] if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if last is not None:
            tree.body.pop()
        said = StringIO()
        with redirect_stdout(said):
            exec(compile(tree, f"{name}, code cell {number}", "exec"), scope)
            value = eval(compile(ast.Expression(last.value), name, "eval"), scope) if last else None
        if said.getvalue():
            shown.append(said.getvalue())
        if value is not None:
            shown.append(plain(value))
        yield from shown
        shown.clear()


def run_cell(name: str, cell_id: str, **scope: Any) -> Any:
    """Run one cell of a notebook with what earlier cells would have made; return its value.

    ``"found+figure"`` runs the first of two for what the second takes from it.

    The notebook's imports and the defaults of its parameters are there; ``scope`` goes before them,
    so a measure can be put in place of the one imported. What the cell displays comes as a list.
    """
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    imports = [
        node
        for source in _cells(name, tagged=False)
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    shown: list[Any] = []
    names: dict[str, Any] = {"display": shown.append, **parameters_of(name)}
    exec(compile(ast.Module(imports, []), name, "exec"), names)
    names |= scope
    sources = [
        next(cell.source for cell in cells if cell.id == each) for each in cell_id.split("+")
    ]
    tree = ast.parse("\n".join(sources))
    last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    exec(compile(tree, f"{name}, {cell_id}", "exec"), names)
    value = eval(compile(last, name, "eval"), names)
    return [*shown, value] if shown else value


def plain(value: Any) -> str:
    """The words of what a cell shows, without drawing it."""
    if isinstance(value, Plot):
        return f"{value.caption}\n{value.alt}"
    if hasattr(value, "_repr_mimebundle_"):
        return str(value._repr_mimebundle_()["text/plain"])
    return str(value)


def small(name: str, n_tasks: int | None = 1) -> dict[str, Any]:
    """The parameters of a short run: few items, and the first tasks only (None: all of them)."""
    own = parameters_of(name)
    chosen = {key: value for key, value in SMALL.items() if key in own}
    return chosen | ({"tasks": own["tasks"][:n_tasks]} if "tasks" in own else {})


def say_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut answers short: random weights seldom end one."""
    for task in BENCHMARKS.values():
        monkeypatch.setattr(task, "shapes_tokens", 4)
        monkeypatch.setattr(task.data, "max_new_tokens", 4)
    monkeypatch.setattr("infoflow.methods.cam.MAX_NEW_TOKENS", 4)


def _cells(name: str, *, tagged: bool) -> list[str]:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and ("parameters" in cell.metadata.get("tags", [])) == tagged
    ]


def assert_whole(plot: Plot) -> None:
    """A plot has an image of a page's width, words and numbers."""
    assert 200 < Image.open(BytesIO(plot.png)).width <= 2 * 750
    assert 20 <= len(plot.alt) <= 400
    assert len(plot.caption) > 20
    assert not plot.table.empty
    assert plot.alt in plot._repr_mimebundle_()["text/plain"]
