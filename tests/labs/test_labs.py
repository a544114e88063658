"""Each lab walked through once: stub, wrong answers and solution against the check, then on."""

import ast
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "book" / "labs"
sys.path.insert(0, str(FOLDER))
import generate  # noqa: E402

LABS = generate.labs()
MOST_SECONDS = 30


@pytest.fixture(scope="module", params=LABS)
def lab(request):
    return request.param


@pytest.fixture(autouse=True)
def without_a_window(monkeypatch):
    monkeypatch.setattr(mpl, "use", lambda *args, **settings: None)
    mpl.rcParams["figure.max_open_warning"] = 0
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


class Walk:
    """A kernel's stand-in: one namespace, in which cells run one after the other."""

    def __init__(self, name):
        self.module = ModuleType(name)

    def run(self, code):
        """Run a cell and return what it printed; alone on a core, none takes long."""
        said, start = StringIO(), time.thread_time()
        with redirect_stdout(said):
            exec(compile(code, self.module.__name__, "exec"), self.module.__dict__)
        assert time.thread_time() - start < MOST_SECONDS
        return said.getvalue()

    def refuse(self, code, kind):
        """Run a cell that must fail, and return its message."""
        with pytest.raises(kind) as caught:
            self.run(code)
        return str(caught.value)


def test_checks_pass_solutions_and_tell_what_is_wrong_with_the_rest(lab):
    walk, said, exercise, check, n_wrong = Walk(lab), [], None, None, 0
    for cell in generate.read(lab):
        if cell.kind == "exercise":
            exercise = cell
            walk.run(cell.stub)
        elif cell.kind == "check":
            check = cell
            assert walk.refuse(cell.text, NotImplementedError).endswith("still to be written.")
            said.append(walk.run(exercise.solution))
            said.append(walk.run(cell.text))
        elif cell.kind == "wrong":
            n_wrong += 1
            walk.run(cell.text)
            message = walk.refuse(check.text, AssertionError)
            assert message.startswith(cell.notes["says"]), cell.title
            walk.run(exercise.solution)
        elif cell.kind in ("code", "figure", "result"):
            said.append(walk.run(cell.text))
    assert n_wrong >= 3
    page = nbformat.read(FOLDER / f"{lab}.ipynb", as_version=4)
    assert "".join(said) == "".join(map(generate.printed, page.cells))


def test_both_notebooks_are_made_from_the_source(lab):
    page = nbformat.read(FOLDER / f"{lab}.ipynb", as_version=4)
    handed_out = nbformat.read(FOLDER / "student" / f"{lab}.ipynb", as_version=4)
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    assert page == generate.solved(lab)
    assert handed_out == generate.student(lab)


def test_slides_are_made_from_the_source_and_hold_each_step_figure_and_result(lab):
    deck = (FOLDER / "slides" / f"{lab}.html").read_text("utf-8")
    assert deck == generate.slides_of(lab)
    cells = generate.read(lab)
    assert deck.count(" minutes)</h2>") == len(generate.minutes(cells))
    assert deck.count("<img ") == sum(cell.kind == "figure" for cell in cells)
    assert deck.count("What came out") == 1
    assert "http" not in deck
    assert f"<slides/{lab}.html>" in (FOLDER / "teacher.md").read_text("utf-8")


def test_a_student_sees_no_solution_and_no_wrong_answer(lab):
    code = "\n".join(cell.source for cell in generate.student(lab).cells)
    assert "# solution" not in code
    assert code.count("raise NotImplementedError") >= 3
    for cell in generate.read(lab):
        if cell.kind == "exercise":
            assert cell.solution not in code
        assert not (cell.kind == "wrong" and cell.text in code)


def test_a_lab_takes_45_to_60_minutes_and_says_what_it_is_for(lab):
    cells = generate.read(lab)
    text = "\n".join(cell.text for cell in cells if cell.kind == "markdown")
    assert 45 <= sum(generate.minutes(cells)) <= 60
    parts = ("You will", "You need", "## Hand in", "## Going further", "7B")
    assert [part for part in parts if part not in text] == []
    assert any(cell.kind == "hint" for cell in cells)
    assert sum(cell.kind == "result" for cell in cells) == 1


def test_figures_have_words(lab):
    for cell in generate.read(lab):
        if cell.kind == "figure":
            assert len(cell.notes["caption"]) > 20
            assert 20 <= len(cell.notes["alt"]) <= 400


def test_labs_rest_on_public_names(lab):
    """What a lab imports of the library has a page in the reference."""
    reference = "".join(p.read_text("utf-8") for p in FOLDER.parent.glob("api/*.md"))
    cells = [cell for cell in generate.read(lab) if cell.kind not in ("markdown", "hint")]
    for node in ast.walk(ast.parse("\n".join(cell.text for cell in cells))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("infoflow."):
            assert node.module in reference, node.module
        if isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
            assert not node.attr.startswith("_"), node.attr


def test_a_fork_has_links_and_nobody_else():
    plain, forked = (str(generate.student(LABS[0], name)) for name in (None, "me/course"))
    for host in ("colab.research.google.com/github/me/course", "mybinder.org/v2/gh/me/course"):
        assert host in forked
        assert host not in plain
    assert "%pip" not in plain


def test_the_answers_of_the_teachers_page_are_the_solutions():
    assert (FOLDER / "answers.md").read_text("utf-8") == generate.answers()
