"""Run a parameterised notebook; the result is whole or absent, and the same bytes every time."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from papermill.translators import PythonTranslator
from tqdm import tqdm

from infoflow.errors import InfoflowError
from infoflow.files import atomic_write, require_writable
from infoflow.parameters import full_set, read_notebook


class NotebookError(InfoflowError):
    """A notebook that did not run to its end."""


def run_notebook(
    notebook: Path | str,
    target: Path | str,
    parameters: Mapping[str, Any] | None = None,
    *,
    error_page: Path | str | None = None,
    title: str | None = None,
) -> Path:
    """Run a notebook with parameters and write the result, whose path is returned, in one piece.

    The kernel is that of the running interpreter, in the notebook's folder. An earlier result stays
    until the new one is whole. A run that failed is a :class:`NotebookError`; an HTML page shows
    how far it came: ``error_page``, or the target with the suffix ``.failed.html``.
    """
    notebook, target = Path(notebook).resolve(), Path(target).resolve()
    if target == notebook:
        raise InfoflowError(f"{notebook} cannot be its own target; name another file.")
    run = _with_values(read_notebook(notebook), full_set(notebook, parameters or {}))
    _execute(run, notebook, target, error_page, title or notebook.stem)
    return _write(target, run)


def refresh_notebook(notebook: Path | str, *, error_page: Path | str | None = None) -> Path:
    """Run a notebook with its defaults on an empty result store, and keep the outputs in it.

    All else stays as it is, and what was said on stderr is left out. A failed run changes nothing.
    """
    notebook = Path(notebook).resolve()
    full_set(notebook, {})  # a notebook that could not be given parameters is refused
    kept, run = read_notebook(notebook), read_notebook(notebook)
    with tempfile.TemporaryDirectory(prefix="infoflow-results-") as store:
        _execute(run, notebook, notebook, error_page, notebook.stem, INFOFLOW_RESULTS=store)
    for cell, after in zip(kept.cells, run.cells, strict=True):
        cell.metadata.pop("execution", None)  # when it ran, which JupyterLab keeps
        if cell.cell_type == "code":
            cell.execution_count = after.execution_count
            cell.outputs = [output for output in after.outputs if output.get("name") != "stderr"]
    kept.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    return _write(notebook, kept)


class _OwnInterpreter(AsyncKernelManager):
    """Starts the interpreter that runs this very code, whatever kernels are registered.

    It is spoken to through files: kernels that start together may be given the same port.
    """

    def __init__(self, **settings: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="infoflow-")
        transport = "tcp" if sys.platform == "win32" else "ipc"
        file = f"{self._folder.name}/kernel.json"
        super().__init__(transport=transport, connection_file=file, **settings)

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict(["--log-level=ERROR"]))


def _with_values(notebook: NotebookNode, values: Mapping[str, Any]) -> NotebookNode:
    tags = ["injected-parameters"]
    source = PythonTranslator.codify(values, "Parameters")
    injected = new_code_cell(source, id=tags[0], metadata={"tags": tags})
    cells = [cell for cell in notebook.cells if cell.metadata.get("tags") != tags]
    place = next(n for n, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells = [*cells[: place + 1], injected, *cells[place + 1 :]]
    return notebook


def _execute(
    run: NotebookNode,
    notebook: Path,
    target: Path,
    error_page: Path | str | None,
    title: str,
    **settings: str,
) -> None:
    page = Path(error_page or target.with_suffix(".failed.html"))
    for path in (target, page):
        require_writable(path)
    code = [cell for cell in run.cells if cell.cell_type == "code" and cell.source.strip()]
    begun: list[int] = []
    with tqdm(desc=title, total=len(code)) as bar:
        client = NotebookClient(
            run,
            kernel_manager_class=_OwnInterpreter,
            resources={"metadata": {"path": str(notebook.parent)}},
            coalesce_streams=True,
            record_timing=False,
            on_cell_execute=lambda cell, cell_index: begun.append(cell_index),
            on_cell_executed=lambda **_: bar.update(),
        )
        try:
            # no progress bars: they would end up on the page, different in every run
            client.execute(env={**os.environ, "INFOFLOW_QUIET": "1", **settings})
        except Exception as error:
            failed = f"{notebook} failed{_where(run, begun)}: {_why(error)}."
            shown, _ = HTMLExporter().from_notebook_node(run, {"metadata": {"name": failed}})
            atomic_write(page, shown.encode())
            raise NotebookError(f"{failed} The page with the error: {page}") from error
    page.unlink(missing_ok=True)


def _where(run: NotebookNode, begun: list[int]) -> str:
    if not begun:
        return ""
    first_line, *_ = run.cells[begun[-1]].source.strip().split("\n")
    number = sum(cell.cell_type == "code" for cell in run.cells[: begun[-1] + 1])
    return f" in code cell {number} ({first_line})"


def _why(error: Exception) -> str:
    name, value = type(error).__name__, str(error)
    if isinstance(error, CellExecutionError):
        name, value = error.ename, error.evalue
    return " ".join(f"{name}: {value}".split()).rstrip(".")


def _write(target: Path, result: NotebookNode) -> Path:
    atomic_write(target, (nbformat.writes(result) + "\n").encode())
    return target
