"""`make book` on a project in miniature: what it runs, what it leaves alone, what a kill costs."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import yaml
from miniature import PARAMETERS, ROOT, Project, files_in

from infoflow.errors import InfoflowError
from infoflow.files import read_checked

RUNS = ["tiny/first", "tiny/second", "shapes/third"]
ALL = {f"{run}.ipynb" for run in RUNS}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Built once, from nothing; each test changes a copy of it."""
    project = Project(tmp_path_factory.mktemp("original"))
    project.create()
    built = project.make()
    assert built.returncode == 0, built.stderr
    project.write("said.txt", built.stdout)
    return project


@pytest.fixture
def project(original: Project, tmp_path: Path) -> Project:
    return original.copy_to(tmp_path)


def test_first_build_tells_its_cost_runs_all_and_renders(original: Project) -> None:
    said = (original.root / "said.txt").read_text()
    assert "3 of 3 notebooks to run, 9 s of one core expected" in said
    index = original.root / "_build" / "html" / "index.html"
    assert said.rstrip().endswith(f"The book: {index}")
    assert index.exists()
    page = index.parent / "book" / "runs" / "tiny" / "first.html"
    assert "tiny 3 10" in page.read_text()
    assert set(original.results()) == ALL


def test_second_build_does_nothing(project: Project) -> None:
    for path in [*files_in(project.root / "lib"), *files_in(project.root / "notebooks")]:
        path.touch()  # a new time is no new content
    before = project.stamps()
    said = project.called("book")
    assert said.returncode == 0
    assert "notebook" not in said.stdout
    assert project.stamps() == before


def change_notebook(project: Project) -> None:
    project.notebook("first", "print('other')")


def change_library(project: Project) -> None:
    project.write("lib/infoflow/beta.py", "beta = 21\n")


def change_front_door(project: Project) -> None:
    path = project.root / "lib" / "infoflow" / "cli.py"
    path.write_text(f"{path.read_text()}\nunit = 1\n")


def change_helper(project: Project) -> None:
    project.write("notebooks/drawing.py", "unit = 2\n")


def change_helper_of_a_helper(project: Project) -> None:
    project.write("notebooks/strokes.py", "unit = 2\n")


def change_parameter(project: Project) -> None:
    project.experiments["notebooks"]["second"]["parameters"] = {"limit": 7}


def change_weights(project: Project) -> None:
    project.write("lib/infoflow/zoo/tiny/card.json", '{"seed": 1}')


def change_prose(project: Project) -> None:
    project.write("book/intro.md", "# Another title\n")


def change_unrelated_weights(project: Project) -> None:
    project.write("lib/infoflow/zoo/other/model.safetensors", "")


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (change_notebook, {"tiny/first", "book"}),
        (change_library, {"tiny/first", "tiny/second", "shapes/third", "book"}),
        (change_front_door, {"book"}),
        (change_helper, {"tiny/first", "book"}),
        (change_helper_of_a_helper, {"tiny/first", "book"}),
        (change_parameter, {"tiny/second", "book"}),
        (change_weights, {"tiny/first", "tiny/second", "book"}),
        (change_prose, {"book"}),
        (change_unrelated_weights, set()),
    ],
)
def test_a_change_makes_stale_what_depends_on_it_and_no_more(
    project: Project, change: Callable[[Project], None], stale: set[str]
) -> None:
    change(project)
    assert project.stale() == stale


def test_the_first_models_page_sets_the_others_beside_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.create()
    project.record_instead_of_running()
    project.notebook("second", parameters=f"{PARAMETERS}\nbeside: list = []")
    project.write("lib/infoflow/zoo/other/model.safetensors", "")
    shown = {"second": {"seconds": 3, "zoo": "built", "others": {"limit": 2}}}
    project.experiments = {"models": ["other", "tiny"], "notebooks": shown}
    built = project.called("book", only=["other/second", "tiny/second"])
    assert built.returncode == 0, built.stderr
    others = {"checkpoint": None, "beside": ["tiny"], "limit": 5}
    assert project.given("other/second") == {"model": "other", **others}
    assert project.given("tiny/second") == {"model": "tiny", **others, "beside": [], "limit": 2}
    # it is stale when any model that it shows is
    project.write("lib/infoflow/zoo/tiny/card.json", '{"seed": 1}')
    assert project.stale() == {"other/second", "tiny/second", "book"}
    project.write("lib/infoflow/zoo/tiny/card.json", "{}")
    project.write("lib/infoflow/zoo/other/model.safetensors", "other weights")
    assert project.stale() == {"other/second", "book"}


def test_rows_that_are_shipped_are_shown_of_models_that_are_not_built(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.create()
    project.record_instead_of_running()
    project.notebook("second", parameters=f"{PARAMETERS}\nbeside: list = []")
    project.write("lib/infoflow/zoo/other/model.safetensors", "")
    project.experiments["notebooks"] = {"second": {"seconds": 3, "zoo": "all"}}
    built = project.called("book", only=["tiny/second"])
    assert built.returncode == 0, built.stderr
    assert project.given("tiny/second")["beside"] == ["other"]
    project.write("lib/infoflow/zoo/other/model.safetensors", "other weights")
    assert project.stale() == {"tiny/second", "book"}


def test_book_all_is_the_book_for_the_whole_zoo(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.create()
    project.experiments["notebooks"] = {"first": {"seconds": 1}}
    for name in ("tiny-b", "tiny-a", "tiny-llava-1.5"):
        project.write(f"lib/infoflow/zoo/{name}/model.safetensors", name)
    said = project.called("book-all", "--dry-run", "--quiet", "host")
    assert said.returncode == 0, said.stderr
    runs = re.findall(r"wildcards: run=(\S+)", said.stdout)
    assert set(runs) == {f"{name}/first" for name in ("tiny-llava-1.5", "tiny-a", "tiny-b")}


def test_the_dry_run_says_why(project: Project) -> None:
    change_helper(project)
    change_parameter(project)
    said = project.called("stale").stdout
    why = dict(re.findall(r"reason: (.+)\n\s+wildcards: run=(\S+)", said))
    by_run = {run: reason for reason, run in why.items()}
    assert "notebooks/drawing.py" in by_run["tiny/first"]
    assert "Params have changed" in by_run["tiny/second"]
    assert "shapes/third" not in by_run


def test_stale_notebooks_are_run_and_the_other_left_alone(project: Project) -> None:
    before = project.stamps()
    change_helper(project)
    change_parameter(project)
    project.record_instead_of_running()
    said = project.called("book", only=RUNS)
    assert said.returncode == 0, said.stderr
    assert "2 of 3 notebooks to run, 5 s of one core expected" in said.stdout
    assert "notebooks/drawing.py" in said.stdout
    assert [project.given(f"tiny/{name}")["limit"] for name in ("first", "second")] == [3, 7]
    after = project.stamps()
    assert {name for name in after if after[name] != before[name]} == {"first", "second"}
    assert project.stale() == {"book"}


def test_models_of_one_build_are_added_to_the_book(project: Project) -> None:
    before = project.results()
    given = {"MODELS": "from-the-hub", "CHECKPOINT": str(project.root / "notebooks")}
    said = project.called("book", **given)
    assert said.returncode == 0, said.stderr
    after = project.results()
    assert {name: after[name] for name in ALL} == before
    assert set(after) - ALL == {"from-the-hub/second.ipynb"}, "the first is about one of the zoo"
    run = after["from-the-hub/second.ipynb"].decode()
    assert f'checkpoint = \\"{project.root / "notebooks"}\\"' in run
    assert (project.root / "_build/html/book/runs/from-the-hub/second.html").exists()


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("notebooks", {"first": {"seconds": 1, "paramters": {}}}, "'paramters' was unexpected"),
        ("modles", ["tiny"], "'modles' was unexpected"),
        ("notebooks", {"first": {"seconds": 1, "zoo": "yes"}}, "not one of ['built', 'all']"),
        ("notebooks", {"first": {"seconds": "1"}}, "first: seconds: '1' is not of type 'number'"),
        ("notebooks", {"first": {"parameters": {}}}, "'seconds' is a required property"),
        (
            "notebooks",
            {"first": {"seconds": -1}},
            "first: seconds: -1 is less than or equal to the",
        ),
        ("notebooks", {"first": {"seconds": float("nan")}}, "'.nan' is not of type 'number'"),
    ],
)
def test_a_mistake_of_form_in_the_experiments_is_named(
    tmp_path: Path, entry: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "experiments.schema.yml", tmp_path)
    written = {**Project(tmp_path).experiments, entry: value}
    (tmp_path / "experiments.yml").write_text(yaml.safe_dump(written))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InfoflowError, match=re.escape(message)):
        read_checked("experiments")


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("notebooks", {"first": {"seconds": 0}}, "first: seconds: 0 is less than or equal to the"),
        (
            "notebooks",
            {"frist": {"seconds": 1}},
            "notebooks/frist.ipynb cannot be read: No such file",
        ),
        ("notebooks", {"first": {"seconds": 1, "models": ["tiyn"]}}, "unknown model 'tiyn'"),
        (
            "notebooks",
            {"first": {"seconds": 1, "parameters": {"limt": 3}}},
            "experiments.yml: notebooks: first: parameters: unknown parameter of first.ipynb",
        ),
        (
            "notebooks",
            {"first": {"seconds": 1, "hub": {"limit": 1.5}}},
            "first: hub: parameter 'limit' of first.ipynb is declared int; got 1.5, a float",
        ),
        (
            "notebooks",
            {"first": {"seconds": 1, "others": {"limt": 3}}},
            "experiments.yml: notebooks: first: others: unknown parameter of first.ipynb",
        ),
    ],
)
def test_a_mistake_in_the_experiments_is_named(
    project: Project, entry: str, value: object, message: str
) -> None:
    project.experiments[entry] = value
    said = project.called("book")
    assert said.returncode != 0
    assert message in said.stderr
    assert "Traceback" not in said.stderr


def test_a_mistake_fails_the_build(project: Project) -> None:
    project.experiments["models"] = ["tiyn"]
    said = project.make()
    assert said.returncode != 0
    assert "unknown model 'tiyn'. Did you mean 'tiny'? Valid: from-the-hub, tiny." in said.stderr
    assert "The book was not built." in said.stderr
    assert "Traceback" not in said.stderr


def test_a_failed_notebook_fails_the_build_and_leaves_its_page_aside(project: Project) -> None:
    project.notebook("first", "print('so far')", "raise KeyError('lost')")
    change_parameter(project)
    said = project.called("book")
    assert said.returncode != 0
    assert "first.ipynb failed in code cell 4 (raise KeyError('lost')): KeyError" in said.stderr
    assert set(project.results()) == ALL - {"tiny/first.ipynb"}
    assert b"tiny 7 20" in project.results()["tiny/second.ipynb"], "the others run all the same"
    failed = files_in(project.root / "_build" / "failed")
    assert [path.relative_to(project.root).as_posix() for path in failed] == [
        "_build/failed/tiny/first.html"
    ]
    assert "so far" in failed[0].read_text()
    last = said.stderr[said.stderr.index("second") :].splitlines()[-3:]
    assert any("KeyError: 'lost'. See _build/failed/tiny/first.html." in line for line in last)


def build_and_kill(project: Project, sign: Path) -> None:
    """Begin to make the book, and kill all of it without warning when a sign appears."""
    with Path(os.devnull).open("w") as unheard:
        build = forked.started(*project.call("book"), unheard, unheard)
        deadline = time.monotonic() + 300
        while not sign.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert sign.exists()
        os.killpg(build.pid, signal.SIGKILL)
        build.join()


def test_killed_in_the_middle_it_goes_on_to_the_same_results(
    original: Project, project: Project
) -> None:
    (project.root / "book" / "runs" / "tiny" / "first.ipynb").unlink()
    shutil.rmtree(project.root / "_build")
    before = project.stamps()
    hold, held = (project.root / "notebooks" / name for name in ("hold", "held"))
    hold.touch()
    build_and_kill(project, held)
    expected = original.results()
    assert expected.items() >= project.results().items(), "a half result lies among the runs"
    assert "tiny/first.ipynb" not in project.results()
    hold.unlink()
    assert project.called("book", only=RUNS).returncode == 0
    assert project.results() == expected
    assert before.items() <= project.stamps().items(), "one is run again that was whole"
    assert project.stale() == {"book"}


def test_killed_while_it_renders_it_renders_again_and_runs_nothing(
    original: Project, project: Project
) -> None:
    html = project.root / "_build" / "html"
    page = html / "book" / "intro.html"
    whole = page.read_text()
    project.write("book/intro.md", "# Another title\n")
    shutil.rmtree(project.root / "_build")
    before = project.stamps()
    build_and_kill(project, html.parent / ".doctrees")
    said = project.called("book")
    assert said.returncode == 0, said.stderr
    assert "No notebook is stale" in said.stdout
    assert project.results() == original.results()
    assert {name: when for name, when in project.stamps().items() if name != "index"} == before
    assert "Another title" in page.read_text() != whole
    assert project.stale() == set()


def test_committed_notebooks_are_run_anew(project: Project) -> None:
    project.notebook("second", "raise KeyError('lost')")
    untouched = (project.root / "notebooks" / "second.ipynb").read_bytes()
    said = project.make("notebooks", NOTEBOOKS="first second")
    assert said.returncode != 0
    assert "second.ipynb failed in code cell 2 (raise KeyError('lost')): KeyError" in said.stderr
    assert "first: 100%" in said.stderr
    assert "tiny 5 10" in (project.root / "notebooks" / "first.ipynb").read_text()
    assert (project.root / "notebooks" / "second.ipynb").read_bytes() == untouched
    assert '"outputs": []' in (project.root / "notebooks" / "third.ipynb").read_text()
    failed = files_in(project.root / "_build" / "failed")
    assert [path.name for path in failed] == ["second.html"]
