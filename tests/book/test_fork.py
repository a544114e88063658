"""What a fork needs: a workflow whose steps are the README's commands, and one version."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_workflow_does_what_the_readme_says():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text("utf-8"))
    commands = [step["run"] for step in workflow["jobs"]["book"]["steps"] if "run" in step]
    readme = (ROOT / "README.md").read_text("utf-8")
    told = re.findall(r"^(make \S+)", readme, flags=re.MULTILINE)
    newcomer = re.findall(r"^(make \S+)$", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    assert commands == newcomer
    assert set(commands) <= set(told)


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    released = re.findall(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert config["sphinx"]["config"]["release"] == version
    assert citation["version"] == version
    assert released[0] == version
