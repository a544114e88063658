"""`make book SOURCE=...`: which pages it reaches, and mistakes in it."""

from pathlib import Path

import pytest
from miniature import PARAMETERS, Project

TOLD = "print(model, limit, source)"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One notebook that takes a source, and two that are about Shapes."""
    project = Project(tmp_path)
    project.create()
    project.notebook("second", TOLD, parameters=f"{PARAMETERS}\nsource: str = 'shapes'")
    project.experiments["models"] = ["tiny", "from-the-hub"]
    project.experiments["notebooks"]["second"]["hub"] = {"limit": 9}
    return project


def run(project: Project, name: str) -> str:
    return project.results()[f"{name}.ipynb"].decode()


def test_it_reaches_the_pages_that_take_one_and_the_models_that_know_more_than_shapes(
    project: Project,
) -> None:
    built = project.make(SOURCE="hub")
    assert built.returncode == 0, built.stderr
    assert "from-the-hub 9 hub" in run(project, "from-the-hub/second"), "with its own parameters"
    assert "tiny 5 shapes" in run(project, "tiny/second")
    assert "from-the-hub 3 10" in run(project, "from-the-hub/first"), "a page on Shapes stays there"
    assert "no model 5" in run(project, "shapes/third")
    # a folder is another source; its pages are stale, and no others
    before = project.results()
    project.write("data/pope/test.parquet", "")
    built = project.make(SOURCE="data")
    assert built.returncode == 0, built.stderr
    assert "1 of 5 notebooks to run" in built.stdout
    assert f"from-the-hub 5 {project.root / 'data'}" in run(project, "from-the-hub/second")
    after = project.results()
    assert {name for name in after if after[name] != before[name]} == {"from-the-hub/second.ipynb"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"SOURCE": "hbu"}, "SOURCE=hbu: there is no such folder. Valid: shapes, hub, a folder."),
        ({"SOURCE": "hub", "MODELS": "tiny"}, "SOURCE=hub: a model of the zoo knows Shapes alone."),
        ({"SOURCE": "1"}, "source: 1 is not of type 'string'"),
    ],
)
def test_a_mistake_is_named(project: Project, given: dict[str, str], told: str) -> None:
    said = project.make("stale", **given)
    assert said.returncode != 0
    assert told in said.stderr + said.stdout
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("part", ["parameters", "hub"])
def test_a_source_has_one_place(project: Project, part: str) -> None:
    project.experiments["notebooks"]["second"][part] = {"source": "hub"}
    said = project.make("stale")
    assert said.returncode != 0
    assert f"error: experiments.yml: notebooks: second: {part}: " in said.stderr + said.stdout
