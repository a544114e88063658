"""Make a lab's two notebooks and its slides from its one source, ``src/NAME.py``.

``student/NAME.ipynb`` has stubs and checks. ``NAME.ipynb`` has the solutions too, and what they
give; it is also the lab's page in the book, where solutions are folded. Both are committed, so that
the book, JupyterLab, a download and Colab find them without a step before.

A source is a Python script of cells. A cell begins with ``# %% [kind]``:

===========  ======================================================================================
markdown     text; its lines are comments
(none)       code, the same for all
figure       code that draws; begins with ``# caption:`` and ``# alt:``
exercise     code; a student gets an error in place of the lines from ``# solution`` to ``# end``
check        code that fails, with a hint, unless the exercise before it was solved
hint         text that opens on a click, between an exercise and its check
result       code that prints what a student hands in
wrong        a typical wrong answer: its name, ``# says:`` with the check's message, and code. It is
             in no notebook; the tests put it in, and the teacher's page lists it
===========  ======================================================================================
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from slides import deck

FOLDER = Path(__file__).resolve().parent
KINDS = ("markdown", "code", "figure", "exercise", "check", "hint", "result", "wrong")
_HEADER = re.compile(r"^# %%(?: \[(\w+)\])?(?: (.*))?$", re.MULTILINE)
_SOLUTION = re.compile(r"^( *)# solution\n.*?^ *# end$", re.MULTILINE | re.DOTALL)
_NOTES = re.compile(r"^# (caption|alt|says): (.*)\n", re.MULTILINE)

BEFORE = """**What I predict**, written before the next cell runs (double-click to write):

- """
AFTER = """**What I hand in** (double-click to write):

- What was found, beside what I predicted:
- The control, what was measured beside it, and what that rules out:
- One thing that this does not show:"""


@dataclass(frozen=True)
class Cell:
    """A cell of a source.

    Attributes:
        kind: One of ``KINDS``.
        title: What follows the kind: of a hint and of a wrong answer, its name.
        text: The text without comment signs, or the code with its solution.
        notes: The caption, alt text or message that a cell's first lines give.
    """

    kind: str
    title: str
    text: str
    notes: dict[str, str]

    @property
    def stub(self) -> str:
        """An exercise as a student gets it."""
        name = re.search(r"^(?:def|class) (\w+)", self.text, re.MULTILINE)
        message = f"{name[1] if name else 'This step'} is still to be written."
        return _SOLUTION.sub(rf'\1raise NotImplementedError("{message}")', self.text)

    @property
    def solution(self) -> str:
        """An exercise, or any other code, as it runs."""
        return re.sub(r"^ *# (?:solution|end)\n?", "", self.text, flags=re.MULTILINE).rstrip()


def labs() -> list[str]:
    """The names of all labs, in order."""
    return sorted(path.stem for path in (FOLDER / "src").glob("lab*.py"))


def read(name: str) -> list[Cell]:
    """Read a lab's source."""
    source = (FOLDER / "src" / f"{name}.py").read_text("utf-8")
    headers = list(_HEADER.finditer(source))
    ends = [header.start() for header in headers[1:]] + [len(source)]
    return [
        _cell(header, source[header.end() : end]) for header, end in zip(headers, ends, strict=True)
    ]


def _cell(header: re.Match[str], body: str) -> Cell:
    kind, title = header[1] or "code", header[2] or ""
    if kind not in KINDS:
        raise ValueError(f"{header[0]}: there is no such kind of cell; valid: {', '.join(KINDS)}.")
    notes = dict(_NOTES.findall(body)) if kind in ("figure", "wrong") else {}
    text = _NOTES.sub("", body) if notes else body
    if kind in ("markdown", "hint"):
        text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
    return Cell(kind, title, text.strip("\n").rstrip(), notes)


def minutes(cells: Iterable[Cell]) -> list[int]:
    """How long each step of a lab should take, as its headings say."""
    text = "\n".join(cell.text for cell in cells if cell.kind == "markdown")
    return [int(number) for number in re.findall(r"^## .*\((\d+) minutes\)$", text, re.MULTILINE)]


def student(name: str, repository: str | None = None) -> NotebookNode:
    """Make the notebook that is handed out; with a repository it opens in Colab and on Binder."""
    made = []
    for cell in read(name):
        if cell.kind == "exercise":
            made.append(new_code_cell(cell.stub))
        elif cell.kind == "figure":
            made += [_shared(cell), new_markdown_cell(f"*{cell.notes['caption']}*")]
        elif cell.kind == "result":
            made += [new_markdown_cell(BEFORE), _shared(cell), new_markdown_cell(AFTER)]
        elif cell.kind != "wrong":
            made.append(_shared(cell))
    if repository:
        made[1:1] = _launch(name, repository)
    return _notebook(made)


def solved(name: str) -> NotebookNode:
    """Make the notebook with solutions, without outputs, laid out as the book's page."""
    made, solution = [], ""
    for cell in read(name):
        if cell.kind == "exercise":
            made.append(new_markdown_cell(f"```python\n{cell.stub}\n```"))
            solution = cell.solution
        elif cell.kind == "check":  # behind the hint
            made += [_folded(solution, "a solution"), _folded(cell.text, "the check")]
        elif cell.kind != "wrong":
            made.append(_shared(cell))
    return _notebook(made)


def _shared(cell: Cell) -> NotebookNode:
    """Make a cell that is the same in both notebooks."""
    if cell.kind == "markdown":
        return new_markdown_cell(cell.text)
    if cell.kind == "hint":
        folded = f"<details>\n<summary>Hint: {cell.title}</summary>\n\n{cell.text}\n\n</details>"
        return new_markdown_cell(folded)
    made = new_code_cell(cell.text)
    if cell.kind == "figure":
        page = {"figure": {"caption": cell.notes["caption"]}, "image": {"alt": cell.notes["alt"]}}
        made.metadata["mystnb"] = page
    return made


def _folded(code: str, what: str) -> NotebookNode:
    """Make a code cell that the book folds into <details>, which opens by keyboard."""
    prompts = {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
    return new_code_cell(code, metadata={"tags": ["hide-input"], "mystnb": prompts})


def _launch(name: str, repository: str) -> list[NotebookNode]:
    path = f"book/labs/student/{name}.ipynb"
    colab = f"https://colab.research.google.com/github/{repository}/blob/HEAD/{path}"
    binder = f"https://mybinder.org/v2/gh/{repository}/HEAD?labpath={path}"
    install = f'    %pip install --quiet "infoflow @ git+https://github.com/{repository}"'
    return [
        new_markdown_cell(f"Open this notebook in [Colab]({colab}) or on [Binder]({binder})."),
        new_code_cell(f'import sys\n\nif "google.colab" in sys.modules:\n{install}'),
    ]


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language = {"name": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": language})


def run(notebook: NotebookNode) -> NotebookNode:
    """Run a notebook from top to bottom and keep what its cells give, without stderr."""
    NotebookClient(notebook, timeout=120, record_timing=False).execute(cwd=str(FOLDER))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def answers() -> str:
    """What each lab's solution hands in, and what usually goes wrong, for the teacher's page."""
    parts = []
    for name in labs():
        page = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        cells = read(name)
        results = {cell.text for cell in cells if cell.kind == "result"}
        given = "".join(printed(cell) for cell in page.cells if cell.source in results)
        wrong = [
            f'- {cell.title}: "{cell.notes["says"]}"' for cell in cells if cell.kind == "wrong"
        ]
        title = cells[0].text.splitlines()[0].removeprefix("# ")
        parts += [f"### {title}", f"```text\n{given.rstrip()}\n```", "\n".join(wrong)]
    return "\n\n".join(parts) + "\n"


def slides_of(name: str) -> str:
    """A lab's deck, from its source and the committed notebook with solutions."""
    return deck(read(name), nbformat.read(FOLDER / f"{name}.ipynb", as_version=4))


def printed(cell: NotebookNode) -> str:
    """What a notebook's cell printed."""
    return "".join(output.text for output in cell.get("outputs", []) if "text" in output)


def main(names: list[str]) -> None:
    """Write both notebooks and the slides of some labs, or of all, and then the answers."""
    course = yaml.safe_load((FOLDER / "course.yml").read_text("utf-8"))
    for name in names or labs():
        nbformat.write(run(solved(name)), FOLDER / f"{name}.ipynb")
        nbformat.write(student(name, course["repository"]), FOLDER / "student" / f"{name}.ipynb")
        (FOLDER / "slides" / f"{name}.html").write_text(slides_of(name), "utf-8")
    (FOLDER / "answers.md").write_text(answers(), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
