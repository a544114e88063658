"""The pinned environment: one lock, which conda users get too, and which satisfies the package."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
USERS_STACK = {
    "accelerate",
    "datasets",
    "jupyter-book",
    "jupyterlab",
    "matplotlib",
    "nbval",
    "numpy",
    "pandas",
    "papermill",
    "pytest",
    "safetensors",
    "seaborn",
    "snakemake",
    "torch",
    "transformers",
}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): pin for name, pin in pins}


def test_the_lock_is_names_and_versions_only() -> None:
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_the_lock_satisfies_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # what `make lock` installs; the extra `quantised` is for machines with a GPU alone
    extras = [project["optional-dependencies"][name] for name in ("book", "dev")]
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        pin = locked()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), f"{text}, but locked at {pin}"


def test_conda_users_get_the_same_versions() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert "--requirement requirements.lock" in pip
    pins = dict(entry.split("==") for entry in pip if "==" in entry)
    assert set(pins) >= USERS_STACK
    for name, pin in pins.items():
        assert pin == locked()[canonicalize_name(name)], name


def test_the_book_is_built_by_jupyter_book_1() -> None:
    """Version 2 is another program, which does not read ``_config.yml``."""
    assert locked()["jupyter-book"].startswith("1.")
    assert version("jupyter-book").startswith("1.")


def test_python_is_the_one_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (python,) = (entry for entry in environment["dependencies"] if "python=" in str(entry))
    assert project["requires-python"] == ">=" + python.split("=")[1]
