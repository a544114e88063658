"""`make book SOURCE=...`: which pages it reaches, what it is if not said, and mistakes in it."""

import re
from pathlib import Path

import pytest
from miniature import PARAMETERS, Project

RUNS = ["from-the-hub/first", "from-the-hub/second", "shapes/third", "tiny/first", "tiny/second"]
COST = "to be expected of ['from-the-hub']"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One notebook that takes a source, and two that are about Shapes."""
    project = Project(tmp_path)
    project.create()
    parameters = PARAMETERS.replace("limit: int", "limit: int | None")
    project.notebook("second", parameters=f"{parameters}\nsource: str = 'shapes'")
    project.record_instead_of_running()
    project.experiments["models"] = ["tiny", "from-the-hub"]
    del project.experiments["notebooks"]["first"]["models"]
    project.experiments["notebooks"]["second"]["hub"] = {"limit": None}
    return project


def test_it_reaches_the_pages_that_take_one_and_the_models_that_know_more_than_shapes(
    project: Project,
) -> None:
    built = project.called("book", only=RUNS)
    assert built.returncode == 0, built.stderr
    hub = {"model": "from-the-hub", "checkpoint": None}
    with_its_own_parameters = hub | {"limit": None, "source": "hub"}
    assert project.given("from-the-hub/second") == with_its_own_parameters
    tiny = {"model": "tiny", "checkpoint": None, "limit": 5, "source": "shapes"}
    assert project.given("tiny/second") == tiny
    assert project.given("from-the-hub/first") == hub | {"limit": 3}, "a page on Shapes stays there"
    assert project.given("shapes/third") == {"limit": 5}
    # seconds of a core are known of the zoo alone; what whole benchmarks cost is said before a run
    assert "5 of 5 notebooks to run, 9 s of one core expected for 3 of them:" in built.stdout
    assert "  tiny/second, 3 s. " in built.stdout
    assert "  from-the-hub/second. " in built.stdout
    assert built.stdout.count(COST) == 1
    # a folder is another source; its pages are stale, and no others
    before = project.results()
    project.write("data/pope/test.parquet", "")
    built = project.called("book", only=RUNS, SOURCE="data")
    assert built.returncode == 0, built.stderr
    assert "1 of 5 notebooks to run:" in built.stdout
    assert COST not in built.stdout
    in_folder = hub | {"limit": 5, "source": str(project.root / "data")}
    assert project.given("from-the-hub/second") == in_folder
    after = project.results()
    assert {name for name in after if after[name] != before[name]} == {"from-the-hub/second.ipynb"}


def given_to_page(project: Project, **variables: str) -> list[str]:
    """What a build would give the page of the hub's model, by Snakemake's dry run."""
    said = project.called("stale", "--printshellcmds", **variables).stdout
    (line,) = re.findall(r"cli run notebooks/second.ipynb .*--parameter=model=from-the-hub.*", said)
    return re.findall(r"--parameter=((?:limit|source)=\S+)", line)


@pytest.mark.parametrize(
    ("variables", "given"),
    [
        ({}, ["limit=null", "source=hub"]),
        ({"SOURCE": "shapes"}, []),
        ({"CHECKPOINT": "weights"}, []),
        ({"CHECKPOINT": "weights", "SOURCE": "hub"}, ["limit=null", "source=hub"]),
    ],
)
def test_if_it_is_not_said_it_is_where_the_weights_come_from(
    project: Project, variables: dict[str, str], given: list[str]
) -> None:
    project.write("weights/model.safetensors", "")
    assert given_to_page(project, MODELS="from-the-hub", **variables) == given


# folders as a shell, make, YAML, Python's formatting and Snakemake's own reading would change them
TYPED = (
    # one in the other: none of these tells where another ends, so that each must arrive
    "run #2/2024_11/1e3/null/[a, b]/a: b/a=b/100%s/-dash/~/ünï 図/trailing ",
    "$HOME $(touch pwned) `touch pwned` $$x/; touch pwned; #",
    "it's \"quoted\"/'quoted'/back\\slash\\n/two\nlines/" + "n" * 250,
)


@pytest.mark.parametrize("name", TYPED)
def test_a_folder_arrives_byte_for_byte(project: Project, name: str) -> None:
    for folder, content in (("weights", "config.json"), ("data", "x.parquet")):
        project.write(f"{folder}/{name}/{content}", "")
    given = {"CHECKPOINT": f"weights/{name}", "SOURCE": f"data/{name}", "MODELS": "from-the-hub"}
    built = project.called("book", only=["from-the-hub/second"], **given)
    assert built.returncode == 0, built.stderr
    values = project.given("from-the-hub/second")
    assert values["checkpoint"] == str(project.root / "weights" / name)
    assert values["source"] == str(project.root / "data" / name)
    assert not list(project.root.glob("**/pwned"))


def test_braces_arrive_or_are_refused(project: Project) -> None:
    name = "{output} {{x}} %s"
    for folder, content in (("weights", "config.json"), ("data", "x.parquet")):
        project.write(f"{folder}/{name}/{content}", "")
    run, given = "from-the-hub/second", {"MODELS": "from-the-hub", "SOURCE": f"data/{name}"}
    assert project.called("book", only=[run], **given).returncode == 0
    assert project.given(run)["source"] == str(project.root / "data" / name)
    said = project.called("book", only=[run], **given, CHECKPOINT=f"weights/{name}")
    assert said.returncode != 0
    assert said.stderr.startswith(f"error: CHECKPOINT=weights/{name}: rename what has {{ or }}")


def test_no_variable_is_run_by_the_shell(project: Project) -> None:
    bad = "x; touch pwned; $(touch pwned) `touch pwned` \" ' $(shell touch pwned)"
    given = dict.fromkeys(
        ("MODEL", "SEED", "SIZE", "OUTPUT", "CORES", "GPUS", "WORKERS", "NOTEBOOKS"), bad
    )
    for target in ("zoo", "benchmarks", "evaluation", "notebooks", "book", "stale"):
        project.make(target, BIN=str(project.recorder()), **given)
        assert not list(project.root.glob("**/pwned")), target
    project.make("zoo", BIN=str(project.recorder()), MODEL=bad, SEED="a b")
    called = (project.root / "bin" / "call").read_text().split("\0")[:-1]
    assert called == ["-m", "zoo.train", "--seed=a b", "--", bad]


def test_a_build_of_the_zoo_alone_needs_none(project: Project) -> None:
    assert project.called("stale", MODELS="tiny").returncode == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SOURCE": "hbu"}, "SOURCE=hbu: there is no such folder. Valid: shapes, hub, a folder."),
        ({"SOURCE": "hub", "MODELS": "tiny"}, "SOURCE=hub: a model of the zoo knows Shapes alone."),
        ({"SOURCE": "1"}, "SOURCE=1: there is no such folder."),
        ({"CHECKPOINT": "null"}, "CHECKPOINT=null: there is no such folder."),
        ({"CHECKPOINT": "n" * 300}, "there is no such folder."),
        (
            {"MODELS": "tiny from-teh-hub"},
            "unknown model 'from-teh-hub'. Did you mean 'from-the-hub'?",
        ),
        ({"MODELS": "tiny; touch pwned"}, "models: 0: 'tiny;' does not match"),
    ],
)
def test_a_mistake_is_named(project: Project, given: dict[str, str], message: str) -> None:
    said = project.called("stale", **given)
    assert said.returncode != 0
    assert message in said.stderr + said.stdout
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("part", ["parameters", "hub"])
def test_a_source_has_one_place(project: Project, part: str) -> None:
    project.experiments["notebooks"]["second"][part] = {"source": "hub"}
    said = project.called("stale")
    assert said.returncode != 0
    assert f"error: experiments.yml: notebooks: second: {part}: " in said.stderr + said.stdout
