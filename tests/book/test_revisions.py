"""Versions of models pinned in experiments.yml reach the notebooks, and mistakes are named."""

from pathlib import Path

import pytest
from miniature import Project

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RUN = "from-the-hub/second"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.create()
    project.record_instead_of_running()
    project.experiments = {
        "models": ["from-the-hub"],
        "revisions": {"from-the-hub": COMMIT},
        "notebooks": {"second": {"seconds": 3}},
    }
    return project


def test_a_pinned_version_reaches_the_notebook_and_a_new_one_makes_it_stale(
    project: Project,
) -> None:
    built = project.called("book", only=[RUN])
    assert built.returncode == 0, built.stderr
    assert project.given(RUN)["model"] == f"from-the-hub@{COMMIT}"
    assert RUN not in project.stale()
    project.experiments["revisions"] = {"from-the-hub": COMMIT[::-1]}
    assert RUN in project.stale()
    project.experiments["revisions"] = {"from-the-hub": COMMIT}
    # weights in a folder are no version of the hub's
    project.write("weights/config.json", "{}")
    built = project.called("book", only=[RUN], CHECKPOINT=str(project.root / "weights"))
    assert built.returncode == 0, built.stderr
    given = {"model": "from-the-hub", "checkpoint": str(project.root / "weights"), "limit": 5}
    assert project.given(RUN) == given


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        ("revisions", {"from-teh-hub": COMMIT}, "unknown model 'from-teh-hub'. Did you mean 'from"),
        ("revisions", {"from-the-hub": "main"}, "revisions: from-the-hub: 'main' does not match"),
        ("revisions", {"tiny": COMMIT}, "revisions: tiny is not on the hub"),
        ("revision", {"from-the-hub": COMMIT}, "'revision' was unexpected"),
    ],
)
def test_a_mistake_is_named(project: Project, entry: str, value: object, told: str) -> None:
    del project.experiments["revisions"]
    project.experiments[entry] = value
    said = project.called("stale")
    assert said.returncode != 0
    assert told in said.stderr + said.stdout
    assert "Traceback" not in said.stderr
