"""`make book SOURCE=...`: which pages it reaches, what it is if not said, and mistakes in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from miniature import PARAMETERS, Project

TOLD = "print(model, limit, source)"
COST = "to be expected of ['from-the-hub']"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One notebook that takes a source, and two that are about Shapes."""
    project = Project(tmp_path)
    project.create()
    parameters = PARAMETERS.replace("limit: int", "limit: int | None")
    project.notebook("second", TOLD, parameters=f"{parameters}\nsource: str = 'shapes'")
    project.experiments["models"] = ["tiny", "from-the-hub"]
    project.experiments["notebooks"]["second"]["hub"] = {"limit": None}
    return project


def run(project: Project, name: str) -> str:
    return project.results()[f"{name}.ipynb"].decode()


def test_it_reaches_the_pages_that_take_one_and_the_models_that_know_more_than_shapes(
    project: Project,
) -> None:
    built = project.make()
    assert built.returncode == 0, built.stderr
    assert "from-the-hub None hub" in run(project, "from-the-hub/second"), "with its own parameters"
    assert "tiny 5 shapes" in run(project, "tiny/second")
    assert "from-the-hub 3 10" in run(project, "from-the-hub/first"), "a page on Shapes stays there"
    assert "no model 5" in run(project, "shapes/third")
    # seconds of a core are known of the zoo alone; what whole benchmarks cost is said before a run
    assert "5 of 5 notebooks to run, 9 s of one core expected for 3 of them:" in built.stdout
    assert "  tiny/second, 3 s. " in built.stdout
    assert "  from-the-hub/second. " in built.stdout
    assert built.stdout.count(COST) == 1
    # a folder is another source; its pages are stale, and no others
    before = project.results()
    project.write("data/pope/test.parquet", "")
    built = project.make(SOURCE="data")
    assert built.returncode == 0, built.stderr
    assert "1 of 5 notebooks to run:" in built.stdout
    assert COST not in built.stdout
    assert f"from-the-hub 5 {project.root / 'data'}" in run(project, "from-the-hub/second")
    after = project.results()
    assert {name for name in after if after[name] != before[name]} == {"from-the-hub/second.ipynb"}


def asked(project: Project, **config: str) -> list[str]:
    """What a build would tell the page of the hub's model, by Snakemake's dry run."""
    project.command("stale")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--printshellcmds", "--config"]
    said = subprocess.run(
        [*command, *(f"{name}={value}" for name, value in config.items())],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = re.findall(r"cli run notebooks/second.ipynb .*--parameter=model=from-the-hub.*", said)
    return re.findall(r"--parameter=((?:limit|source)=\S+)", line)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, ["limit=null", "source=hub"]),
        ({"source": "shapes"}, []),
        ({"checkpoint": "weights"}, []),
        ({"checkpoint": "weights", "source": "hub"}, ["limit=null", "source=hub"]),
    ],
)
def test_if_it_is_not_said_it_is_where_the_weights_come_from(
    project: Project, config: dict[str, str], told: list[str]
) -> None:
    project.write("weights/model.safetensors", "")
    assert asked(project, models="[from-the-hub]", **config) == told


def test_a_build_of_the_zoo_alone_needs_none(project: Project) -> None:
    assert project.make("stale", MODELS="tiny").returncode == 0


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
