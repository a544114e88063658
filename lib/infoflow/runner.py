"""Run a parameterised notebook; the result is whole or absent, and the same bytes every time.

papermill alone leaves a notebook that looks finished when its kernel was killed, injects a
misspelt parameter with no more than a warning, and stamps every run with the time. Here a result
appears only once every code cell has run to its end, and only with parameters the notebook has.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from infoflow.errors import InfoflowError
from infoflow.files import atomic_write, make_folder, require_writable
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
    """Run a notebook with parameters and write the result in one piece.

    The kernel is that of the running interpreter, in the notebook's folder, as in JupyterLab.

    Args:
        notebook: The notebook, with a cell tagged ``parameters``.
        target: Where the result goes; an earlier one stays until the new one is whole.
        parameters: Values that replace defaults; NumPy scalars and paths are made plain.
        error_page: Where an HTML page of a run that failed goes; by default beside the target,
            with ``.failed.html`` for its suffix.
        title: What the progress bar says; by default the notebook's name.

    Returns:
        The target.

    Raises:
        UnknownNameError: The notebook has no such parameter.
        InfoflowError: A value is not of the parameter's type, or the file is no notebook.
        NotebookError: The run failed; the error names the cell.
    """
    notebook, target = Path(notebook).resolve(), Path(target).resolve()
    page = Path(error_page) if error_page else target.with_suffix(".failed.html")
    if target == notebook:
        raise InfoflowError(f"{notebook} cannot be its own target; name another file.")
    for path in (target, page):
        require_writable(path)
    values = full_set(notebook, parameters or {})
    result = _whole_run(notebook, values, page, title or notebook.stem, _OwnInterpreter)
    _put_in_place(target, _without_traces(result), page)
    return target


def refresh_notebook(notebook: Path | str, *, error_page: Path | str | None = None) -> Path:
    """Run a notebook with its defaults on an empty result store, and keep the outputs in it.

    Cells, their ids and their metadata stay as they are. What is new are the outputs, without what
    was said on stderr, and the numbers of the cells.

    Args:
        notebook: The notebook; it stays untouched if the run fails.
        error_page: Where an HTML page of a run that failed goes; by default beside the notebook,
            with ``.failed.html`` for its suffix.

    Returns:
        The notebook.

    Raises:
        InfoflowError: The file is no notebook, or has no cell tagged ``parameters``.
        NotebookError: The run failed; the error names the cell.
    """
    notebook = Path(notebook).resolve()
    page = Path(error_page) if error_page else notebook.with_suffix(".failed.html")
    for path in (notebook, page):
        require_writable(path)
    full_set(notebook, {})  # a notebook that could not be given parameters is refused
    with tempfile.TemporaryDirectory(prefix="infoflow-results-") as store:

        class OnEmptyStore(_OwnInterpreter):
            environment: ClassVar = _OwnInterpreter.environment | {"INFOFLOW_RESULTS": store}

        result = _whole_run(notebook, {}, page, notebook.stem, OnEmptyStore)
    _put_in_place(notebook, _with_outputs_of(result, read_notebook(notebook)), page)
    return notebook


class _OwnInterpreter(AsyncKernelManager):
    """Starts the interpreter that runs this very code, whatever kernels are registered."""

    # no progress bars: they would end up on the page, different in every run
    environment: ClassVar = {"INFOFLOW_QUIET": "1"}

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict(["--log-level=ERROR"]), env=self.environment)


def _whole_run(
    notebook: Path,
    values: Mapping[str, Any],
    page: Path,
    title: str,
    kernel: type[_OwnInterpreter],
) -> NotebookNode:
    """Run a notebook to its end, or raise and leave a page that shows how far it came."""
    with tempfile.TemporaryDirectory(prefix="infoflow-") as folder:
        # papermill saves after each cell: elsewhere, so that no half result is seen at the target
        work = Path(folder) / "run.ipynb"
        try:
            _execute(notebook, work, values, title, kernel)
            _refuse_unfinished(read_notebook(work))
        except (Exception, KeyboardInterrupt) as error:
            told = _failure(notebook, work, error)
            _write_page(work, page, told)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise NotebookError(f"{told} The page with the error: {page}") from error
        return read_notebook(work)


def _put_in_place(target: Path, result: NotebookNode, page: Path) -> None:
    make_folder(target.parent)
    atomic_write(target, (nbformat.writes(result) + "\n").encode())
    page.unlink(missing_ok=True)


def _execute(
    notebook: Path,
    work: Path,
    values: Mapping[str, Any],
    title: str,
    kernel: type[_OwnInterpreter],
) -> None:
    source = work.with_name("source.ipynb")  # papermill formats braces in the path it is given
    shutil.copyfile(notebook, source)
    # papermill warns of parameters whose annotation it cannot read; they have been checked
    logging.getLogger("papermill").setLevel(logging.ERROR)
    papermill.execute_notebook(
        source,
        work,
        dict(values),
        kernel_name="python3",
        language="python",
        cwd=notebook.parent,
        progress_bar={"desc": title},
        kernel_manager_class=kernel,
        coalesce_streams=True,
    )


def _refuse_unfinished(result: NotebookNode) -> None:
    """Check what papermill's own status does not tell: that each code cell ran, and without error.

    ``sys.exit(0)`` in a cell counts as success to papermill, though no later cell runs.
    """
    for cell in result.cells:
        if cell.cell_type == "code" and cell.source.strip():
            if cell.execution_count is None:
                raise NotebookError("the cell never ran to its end")
            if any(output.output_type == "error" for output in cell.outputs):
                raise NotebookError("the cell raised an error")


def _failure(notebook: Path, work: Path, error: BaseException) -> str:
    """Say in one line where a run failed and why."""
    cause = f"{type(error).__name__}: {error}"
    if isinstance(error, PapermillExecutionError):
        cause = f"{error.ename}: {error.evalue}"
    elif isinstance(error, InfoflowError):
        cause = str(error)
    return f"{notebook} failed{_place(work)}: {' '.join(cause.split()).rstrip('.')}."


def _place(work: Path) -> str:
    """Name the last code cell that was begun by its number and its first line."""
    if not work.exists():
        return ""
    cells = [cell for cell in read_notebook(work).cells if cell.cell_type == "code"]
    begun = [number for number, cell in enumerate(cells, start=1) if _was_begun(cell)]
    if not begun:
        return ""
    first_line = cells[begun[-1] - 1].source.strip().split("\n")[0]
    return f" in code cell {begun[-1]} ({first_line})"


def _was_begun(cell: NotebookNode) -> bool:
    return cell.metadata.get("papermill", {}).get("start_time") is not None


def _write_page(work: Path, page: Path, told: str) -> None:
    """Show how far a run came, under a title that tells what happened."""
    if work.exists():
        make_folder(page.parent)
        title = {"metadata": {"name": told}}
        shown, _ = HTMLExporter().from_notebook_node(read_notebook(work), resources=title)
        atomic_write(page, shown.encode())


def _without_traces(result: NotebookNode) -> NotebookNode:
    """Take out what differs between two runs of one thing: times and random cell ids."""
    result.metadata.pop("papermill", None)
    for cell in result.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"
    return result


def _with_outputs_of(run: NotebookNode, notebook: NotebookNode) -> NotebookNode:
    """Take over a run's outputs and cell numbers, and nothing else of it."""
    for cell, after in zip(notebook.cells, run.cells, strict=True):
        cell.metadata.pop("execution", None)  # when it ran, which JupyterLab keeps
        if cell.cell_type == "code":
            cell.execution_count = after.execution_count
            cell.outputs = [output for output in after.outputs if output.get("name") != "stderr"]
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    return notebook
