"""The Python that the README and the quick start print does what they say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples(file: str) -> list[str]:
    return PYTHON.findall((ROOT / file).read_text("utf-8"))


@pytest.mark.parametrize("file", ["README.md", "book/quickstart.md", "book/api/index.md"])
def test_examples_run(file: str) -> None:
    assert examples(file)
    for code in examples(file):
        exec(compile(code, file, "exec"), {})


@pytest.mark.parametrize("file", ["README.md", "book/quickstart.md"])
def test_example_prints_an_answer_for_every_cut(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scope: dict[str, object] = {}
    exec(compile(examples(file)[0], file, "exec"), scope)
    lines = capsys.readouterr().out.splitlines()
    cuts = range(scope["lvlm"].n_layers + 1)  # type: ignore[attr-defined]
    assert [line.split()[0] for line in lines[-len(cuts) :]] == [str(cut) for cut in cuts]
