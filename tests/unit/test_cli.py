"""The command line: one line on stderr and exit code 2 for what the user can mend."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from infoflow import cli, list_models


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["infoflow", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "page.ipynb"
    parameters = (
        "model: str = 'tiny'\nlimit: int = 3\ncuts: list = []\ncheckpoint: str | None = None"
    )
    cells = [
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_code_cell("print([model, limit, cuts, checkpoint])"),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_models_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "models") == 0
    assert capsys.readouterr().out.split() == list_models()


def test_run_takes_options(monkeypatch: pytest.MonkeyPatch, notebook: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.ipynb"
    options = ["-p", "limit=7", "-p", "model=1e3", "-p", "checkpoint=null", "-p", "cuts=[0, 2]"]
    assert call(monkeypatch, "run", str(notebook), str(target), *options) == 0
    outputs = nbformat.read(target, as_version=4).cells[-1].outputs
    assert outputs[0].text == "['1e3', 7, [0, 2], None]\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", "limt=3"], "unknown parameter of page.ipynb 'limt'. Did you mean 'limit'?"),
        (
            ["-p", "limit=many"],
            "parameter 'limit' of page.ipynb is declared int; got 'many'; valid: JSON, such as",
        ),
        (["-p", "limit"], "a parameter is given as NAME=VALUE; got 'limit'."),
        (["-p", "cuts=[1"], "parameter 'cuts' of page.ipynb is declared list; got '[1';"),
    ],
)
def test_a_mistake_is_one_line_without_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    notebook: Path,
    options: list[str],
    message: str,
) -> None:
    target = notebook.with_name("out.ipynb")
    assert call(monkeypatch, "run", str(notebook), str(target), *options) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {message}")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not target.exists()


def test_a_run_spares_its_source_and_folders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], notebook: Path
) -> None:
    before = notebook.read_bytes()
    folder = notebook.parent
    blocked = str(notebook / "out.ipynb")
    for arguments in ([str(notebook)], [str(folder)], [blocked], ["o.ipynb", "--error-page", "."]):
        monkeypatch.chdir(folder)
        assert call(monkeypatch, "run", str(notebook), *arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == [notebook.name]
    assert notebook.read_bytes() == before


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device", "x.txt"), 2),
        (MemoryError(), 2),
        (RecursionError("too deep"), 2),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_of_the_machine_are_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("infoflow.list_models", fail, raising=False)
    assert call(monkeypatch, "models") == code
    said = capsys.readouterr().err
    assert (said.count("\n"), said[:7]) == ((1, "error: ") if code == 2 else (0, ""))


def test_values_that_a_library_cannot_read_are_one_line_and_our_own_mistakes_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("infoflow.list_models", lambda: json.loads("{"), raising=False)
    assert call(monkeypatch, "models") == 2
    assert capsys.readouterr().err.startswith("error: JSONDecodeError(")
    monkeypatch.setattr("infoflow.list_models", lambda: None, raising=False)
    monkeypatch.setattr(sys, "argv", ["infoflow", "models"])
    with pytest.raises(TypeError):
        cli.main()


def test_costs_are_said_without_data_or_weights(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "costs", "llava-1.5-7b", "shikra-7b") == 0
    said = capsys.readouterr().out
    assert "on one card of 80 GB" in said
    for model in ("llava-1.5-7b", "shikra-7b"):
        for task in ("scienceqa", "pope", "textvqa", "chair"):
            (line,) = (line for line in said.splitlines() if line.split()[:2] == [model, task])
            assert line.count(" to ") == 2
            assert line.endswith("GB")
    assert "nothing was measured" in said
    assert call(monkeypatch, "costs", "tiny-llava-1.5") == 2
    said_wrong = capsys.readouterr()
    assert said_wrong.err.startswith("error: unknown published model 'tiny-llava-1.5'.")
    assert said_wrong.err.count("\n") == 1


EVALUATE = ("evaluate", "tiny-llava-1.5", "pope", "answers")


def test_shards_are_evaluated_and_merged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = ["--results", str(tmp_path)]
    folders = []
    for shard in ("1/2", "2/2"):
        options = ["--limit", "3", "--shard", shard, "-t", "max_new_tokens=2", *store]
        assert call(monkeypatch, *EVALUATE, *options) == 0
        said = capsys.readouterr()
        assert "in this shard of only the first 3 of 500 items of pope test" in said.err
        folders.append(said.out.strip())
    assert call(monkeypatch, "merge", folders[0], *store) == 2
    assert "needs each of its 2 shards once; given: 1" in capsys.readouterr().err
    assert call(monkeypatch, "merge", *folders, *store) == 0
    merged = Path(capsys.readouterr().out.strip())
    assert merged.parent == tmp_path / "answers"
    assert call(monkeypatch, *EVALUATE, "--limit", "3", "-t", "max_new_tokens=2", *store) == 0
    assert Path(capsys.readouterr().out.strip()) == merged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pope", "answrs"), "unknown measure 'answrs'. Did you mean 'answers'?"),
        (("pop", "answers"), "unknown task 'pop'. Did you mean 'pope'?"),
        (("pope", "answers", "-p", "seed=1"), "unknown parameter of answers 'seed'."),
        (("pope", "cam_by_layer", "-p", "sed=1"), "unknown parameter of cam_by_layer 'sed'."),
        (("pope", "cam_by_layer", "-p", "seed=x"), "parameter 'seed' of cam_by_layer is declared"),
        (("pope", "topk_by_cut", "-p", "cuts=[1]"), "topk_by_cut needs keeps"),
        (("pope", "answers", "-t", "orc=1"), "unknown parameter of task pope 'orc'."),
        (("pope", "answers", "--shard", "3/2"), "there is no shard 3/2"),
        (("pope", "answers", "--limit", "2", "--shard", "1/3"), "2 items cannot be split into 3"),
    ],
)
def test_a_mistake_in_an_evaluation_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert call(monkeypatch, "evaluate", "tiny-llava-1.5", *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "tiny-llava-1.5"], "error: Missing argument 'task'."),
        (["nothing"], "error: No such command 'nothing'."),
        (["models", "--odd"], "error: No such option: --odd"),
        (
            ["answer", "tiny-lava-1.5", "no.png", "What?"],
            "error: unknown model 'tiny-lava-1.5'. Did you mean 'tiny-llava-1.5'?",
        ),
    ],
)
def test_a_wrong_call_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert call(monkeypatch, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
