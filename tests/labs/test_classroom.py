"""How the course is handed out: what a student installs, the container, the hub's configuration."""

import ast
import re
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from traitlets.config import PyFileConfigLoader

ROOT = Path(__file__).resolve().parents[2]
LABS = ROOT / "book" / "labs"


def closure(name: str, seen: set[str]) -> set[str]:
    """All packages that one needs, itself included, without its extras."""
    seen.add(name)
    try:
        needed = [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:  # for another system
        return seen
    for one in needed:
        if (one.marker is None or one.marker.evaluate({"extra": ""})) and (
            found := canonicalize_name(one.name)
        ) not in seen:
            closure(found, seen)
    return seen


@pytest.fixture(scope="module")
def student() -> set[str]:
    return closure("infoflow", set())


def test_a_student_installs_what_the_labs_import(student: set[str]) -> None:
    owners = packages_distributions()
    for path in (LABS / "src").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [str(node.module)]
            else:
                continue
            for top in {module.split(".")[0] for module in modules} & set(owners):
                assert canonicalize_name(owners[top][0]) in student, f"{path.name}: {top}"
    assert {"jupyterlab", "ipykernel"} <= student


def test_a_student_installs_nothing_of_the_book_or_the_tests(student: set[str]) -> None:
    others = "jupyter-book sphinx snakemake pytest playwright mypy ruff hypothesis"
    assert set(others.split()) & student == set()


def test_the_hub_reads_its_configuration() -> None:
    folder = LABS / "classroom"
    config = PyFileConfigLoader("jupyterhub_config.py", path=str(folder)).load_config()
    assert config.DockerSpawner.image in (ROOT / "Dockerfile").read_text("utf-8")
    assert config.DockerSpawner.cmd == ["jupyterhub-singleuser"], "the image's own does not answer"
    host = config.DockerSpawner.hub_connect_url.split(":")[1].removeprefix("//")
    assert config.DockerSpawner.extra_host_config["extra_hosts"] == {host: "host-gateway"}
    assert config.JupyterHub.hub_ip == "0.0.0.0", "a container is another host"
    assert config.SharedPasswordAuthenticator.user_password == "", "it comes from the environment"
    first = config.Spawner.default_url.removeprefix("/lab/tree/")
    assert (ROOT / first).is_file()
    (volume,) = config.DockerSpawner.volumes.values()
    assert f"{volume}/labs/student" == f"/home/jovyan/{Path(first).parent}"


def test_the_container_has_the_locked_versions_and_the_labs() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert "--constraint /src/requirements.lock /src" in dockerfile
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", dockerfile, re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
    assert "book/labs/student" in " ".join(copied).split()
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert not set(" ".join(copied).split()) & set(ignored)


def test_the_course_lists_every_lab() -> None:
    course, contents = (path.read_text("utf-8") for path in (LABS / "index.md", ROOT / "_toc.yml"))
    for path in sorted((LABS / "src").glob("lab*.py")):
        assert f"<student/{path.stem}.ipynb>" in course
        assert f"book/labs/{path.stem}\n" in contents
