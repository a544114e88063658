"""A notebook run: whole or absent, the same bytes each time, and only with fitting parameters."""

import inspect
import signal
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.parameters import full_set, notebook_parameters
from infoflow.report.provenance import page_parameters
from infoflow.runner import NotebookError, refresh_notebook, run_notebook

PARAMETERS = """\
# What can be set
model: str = "tiny"  # a = sign in a comment
checkpoint: str | None = None
limit: int = 3
share: float = 0.5
cuts: list[int] = [
    1,
    2,
]
seed = 0
"""


def write(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    tagged = new_code_cell(parameters, id="p", metadata={"tags": ["parameters"]})
    code = [new_code_cell(cell, id=f"c{number}") for number, cell in enumerate(cells)]
    kernel = {"kernelspec": {"name": "no-such-kernel", "display_name": "None"}}
    notebook = new_notebook(
        cells=[new_markdown_cell("# T", id="t"), tagged, *code], metadata=kernel
    )
    nbformat.write(notebook, path)
    return path


def printed(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "tiny" / "page.ipynb"


GIVEN = {"limit": 7, "cuts": [3]}
CELLS = (
    "import time\nfor i in range(4):\n    print(i, flush=True)\n    time.sleep(0.03)",
    "print(model, checkpoint, limit, share, cuts, seed)",
    "import os, sys\nprint(sys.executable, os.getcwd(), os.environ['INFOFLOW_QUIET'])",
    # not imported, as that takes seconds
    f"from typing import Any\n{inspect.getsource(page_parameters)}limit += 1",
    "print(page_parameters())",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "a {braced} name.ipynb", *CELLS)


@pytest.fixture(scope="module")
def page(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the notebook."""
    before = source.read_bytes()
    page = run_notebook(source, tmp_path_factory.mktemp("runs") / "page.ipynb", GIVEN)
    assert source.read_bytes() == before
    return page


def test_a_second_run_gives_the_same_bytes_and_shows_its_progress(
    source: Path, page: Path, target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_notebook(source, target, GIVEN, title="tiny/page").read_bytes() == page.read_bytes()
    assert printed(page).startswith("0\n1\n2\n3\ntiny None 7 0.5 [3] 0\n")
    assert list(target.parent.iterdir()) == [target]
    said = capfd.readouterr().err
    assert "tiny/page: 100%" in said
    assert "WARNING" not in said


def test_a_run_shows_its_full_set_of_parameters(page: Path) -> None:
    injected = nbformat.read(page, as_version=4).cells[2]
    assert "injected-parameters" in injected.metadata.tags
    values: dict[str, Any] = {}
    exec(injected.source, values)
    values.pop("__builtins__")
    assert values == {
        "model": "tiny",
        "checkpoint": None,
        "limit": 7,
        "share": 0.5,
        "cuts": [3],
        "seed": 0,
    }


def test_the_kernel_is_this_interpreter_in_the_notebooks_folder_and_quiet(
    source: Path, page: Path
) -> None:
    assert f"{sys.executable} {source.parent} 1" in printed(page).splitlines()


def test_a_page_knows_its_parameters(page: Path) -> None:
    values = {"model": "tiny", "checkpoint": None, "limit": 8, "share": 0.5, "cuts": [3]}
    said = printed(page).splitlines()[-1]
    assert said == f"{values}", "those with a type, as every page's have"
    assert page_parameters() == {}, "outside IPython"


def test_values_are_made_plain(tmp_path: Path) -> None:
    given = {"limit": np.int64(5), "share": 1, "cuts": (np.int32(1), 2), "checkpoint": Path("/x y")}
    values = full_set(write(tmp_path / "a.ipynb"), given)
    plain = [5, 1, [1, 2], "/x y"]
    assert [values[name] for name in given] == plain
    assert [type(values[name]) for name in given] == [type(value) for value in plain]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": "3"}, "'limit' .* declared int; got '3', a str"),
        ({"limit": True}, "declared int; got True, a bool"),
        ({"limit": 2.0}, "declared int; got 2.0"),
        ({"share": "half"}, "'share' .* declared float"),
        ({"model": None}, "'model' .* declared str; got None"),
        ({"checkpoint": 3}, r"declared str \| None; got 3"),
        ({"cuts": 3}, r"declared list\[int\]; got 3"),
        ({"seed": "x"}, "'seed' .* declared int"),
        ({"cuts": {1, 2}}, "'cuts' cannot be given to a notebook: .* not set"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(
    tmp_path: Path, target: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InfoflowError, match=message):
        run_notebook(write(tmp_path / "a.ipynb"), target, given)
    assert not target.parent.exists()


def test_an_unknown_parameter_is_refused_by_name(tmp_path: Path, target: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'limt'\. Did you mean 'limit'"):
        run_notebook(write(tmp_path / "a.ipynb"), target, {"limt": 3})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [("limit = 3 * 4", "only assign literals"), ("import os", "only assign literals: line 1")],
)
def test_a_parameters_cell_that_computes_is_refused(
    tmp_path: Path, parameters: str, message: str
) -> None:
    with pytest.raises(InfoflowError, match=message):
        notebook_parameters(write(tmp_path / "a.ipynb", parameters=parameters))


def test_what_is_no_notebook_is_refused(tmp_path: Path, target: Path) -> None:
    text = tmp_path / "a.ipynb"
    text.write_text("{}")
    for source in (text, tmp_path / "absent.ipynb"):
        with pytest.raises(InfoflowError, match=f"{source.name} cannot be read"):
            run_notebook(source, target)
    untagged = new_notebook(cells=[new_code_cell("x = 1")])
    nbformat.write(untagged, text)
    with pytest.raises(InfoflowError, match="needs one cell tagged 'parameters'; it has 0"):
        run_notebook(text, target)


@pytest.mark.parametrize(
    ("cell", "message", "page"),
    [
        (
            "raise KeyError('lost')",
            r"cell 4 \(raise KeyError\('lost'\)\): KeyError: 'lost'",
            "failed/a.html",
        ),
        ("import os; os.kill(os.getpid(), 9)", r"cell 4 \(import os; .*DeadKernelError", None),
        ("import sys; sys.exit(0)", r"cell 4 \(import sys; .*SystemExit: 0", None),
    ],
)
def test_a_failed_run_leaves_the_target_as_it_was(
    tmp_path: Path, target: Path, cell: str, message: str, page: str | None
) -> None:
    source = write(tmp_path / "a.ipynb", "print('so far')", cell, "print('never')")
    target.parent.mkdir(parents=True)
    target.write_text("an earlier run")
    told = tmp_path / page if page else target.with_suffix(".failed.html")
    with pytest.raises(NotebookError, match=message):
        run_notebook(source, target, error_page=page and told)
    assert target.read_text() == "an earlier run"
    assert {*target.parent.iterdir()} - {told} == {target}
    assert "so far" in told.read_text()


def test_a_run_that_succeeds_takes_the_error_page_away(tmp_path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.with_suffix(".failed.html").write_text("of an earlier run")
    run_notebook(write(tmp_path / "a.ipynb", "assert limit == 3"), target)
    assert [path.name for path in target.parent.iterdir()] == ["page.ipynb"]


def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(NotebookClient, "execute", interrupt)
    # a shell starts background jobs with the signal ignored
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_notebook(write(tmp_path / "a.ipynb"), target)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not target.parent.exists()


def test_refreshing_renews_the_outputs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFOFLOW_RESULTS", str(tmp_path / "results"))
    source = write(
        tmp_path / "a.ipynb",
        "import sys\nprint(limit, end=' ')\nprint('chatter', file=sys.stderr)",
        "import os\nfrom pathlib import Path\nstore = Path(os.environ['INFOFLOW_RESULTS'])\n"
        "print(list(store.iterdir()), os.environ['INFOFLOW_QUIET'])",
        "None",
    )
    before = nbformat.read(source, as_version=4)
    before.metadata.widgets = {"state": {}}
    before.cells[2].metadata = {"tags": ["hide-input"], "execution": {"iopub.execute_input": "now"}}
    before.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="out of date")]
    nbformat.write(before, source)

    assert refresh_notebook(source) == source
    after = nbformat.read(source, as_version=4)
    assert printed(source) == "3 [] 1\n"
    assert [cell.get("execution_count") for cell in after.cells] == [None, 1, 2, 3, 4]
    assert [(cell.id, cell.source) for cell in after.cells] == [
        (cell.id, cell.source) for cell in before.cells
    ]
    tags = [{}, {"tags": ["parameters"]}, {"tags": ["hide-input"]}, {}, {}]
    assert [dict(cell.metadata) for cell in after.cells] == tags
    assert set(after.metadata) == {"kernelspec", "language_info"}
    assert list(tmp_path.iterdir()) == [source]

    first = source.read_bytes()
    refresh_notebook(source)
    assert source.read_bytes() == first


def test_a_failed_refreshing_leaves_the_notebook_as_it_was(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ipynb", "print('so far')", "raise KeyError('lost')")
    before = source.read_bytes()
    with pytest.raises(NotebookError, match=r"code cell 3 \(raise KeyError\('lost'\)\): KeyError"):
        refresh_notebook(source, error_page=tmp_path / "failed" / "a.html")
    assert source.read_bytes() == before
    assert "so far" in (tmp_path / "failed" / "a.html").read_text()
