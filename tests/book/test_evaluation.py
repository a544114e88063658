"""The workflow of sharded evaluations: what it runs, on a scratch copy of the project."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import forked
import pytest
import yaml

from infoflow.errors import InfoflowError
from infoflow.evaluate.running import check_evaluation
from infoflow.files import read_checked

ROOT = Path(__file__).resolve().parents[2]
FILES = ["evaluation.smk", "evaluations.yml", "evaluations.schema.yml", "requirements.lock"]
ONE = {"model": "tiny-llava-1.5", "task": "pope", "measure": "answers", "shards": 2, "gpus": 0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    for name in ("lib", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def write(project: Path, evaluations: object) -> None:
    (project / "evaluations.yml").write_text(yaml.safe_dump(evaluations))


def check_all() -> None:
    """Do what the workflow does before its first job."""
    for name, entry in read_checked("evaluations")["evaluations"].items():
        check_evaluation(entry, f"evaluations.yml: evaluations: {name}")


def dry_run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    asked = ["--snakefile", "evaluation.smk", "--dry-run", *options]
    return forked.snakemake(asked, project, os.environ)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sahrds": 2}, "evaluations: one: Additional properties are not allowed ('sahrds'"),
        ({"shards": 0}, "evaluations: one: shards: 0 is less than the minimum of 1"),
        ({"shards": "2"}, "evaluations: one: shards: '2' is not of type 'integer'"),
        ({"task": "pop"}, "evaluations: one: task: 'pop' is not one of"),
        ({"shards": 2.0}, "evaluations: one: shards: 2.0 is not of type 'integer'"),
        ({"model": "tiny-lava"}, "evaluations: one: unknown model 'tiny-lava'"),
        ({"measure": "../x"}, "evaluations: one: unknown measure '../x'"),
        (
            {"parameters": {"seed": 1}},
            "evaluations: one: unknown parameter of answers 'seed'. Valid: none",
        ),
        ({"task_options": {"max_new_tokens": 1.5}}, "evaluations: one: parameter 'max_new_tokens'"),
        ({"limit": 4, "shards": 5}, "evaluations: one: 4 items cannot be split into 5 shards"),
        ({"shards": 501}, "evaluations: one: 500 items cannot be split into 501 shards"),
        ({"checkpoint": "nowhere"}, "evaluations: one: checkpoint 'nowhere': there is no such"),
        ({"rule": "best"}, "evaluations: one: unknown"),
        ({"gpus": -1}, "evaluations: one: gpus: -1 is less than the minimum of 0"),
    ],
)
def test_a_mistake_in_the_evaluations_is_named(
    project: Path, change: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    write(project, {"evaluations": {"one": ONE | change}})
    with pytest.raises(InfoflowError) as caught:
        check_all()
    assert str(caught.value).startswith(f"evaluations.yml: {message}")


@pytest.mark.parametrize("text", ["", "[]", "evaluations: {}\nevaluations: {}", "a: &a [*a]"])
def test_a_file_that_is_none_is_named(
    project: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / "evaluations.yml").write_text(text)
    with pytest.raises(InfoflowError, match=r"^evaluations\.yml"):
        read_checked("evaluations")


@pytest.mark.parametrize("change", [{"shards": "2"}, {"model": "tiny-lava"}])
def test_a_mistake_is_one_line_before_the_first_job(
    project: Path, change: dict[str, object]
) -> None:
    """Of the schema, and of the evaluation that it describes."""
    write(project, {"evaluations": {"one": ONE | change}})
    said = dry_run(project)
    assert said.returncode != 0
    assert said.stderr.startswith("error: evaluations.yml: evaluations: one")
    assert said.stderr.count("\n") == 1


def test_shards_are_jobs_with_a_gpu_each_and_one_merge(project: Path) -> None:
    others = {name: value for name, value in ONE.items() if name != "gpus"}
    asked = others | {
        "measure": "topk_by_cut",
        "shards": 3,
        "limit": 9,
        "parameters": {"keeps": [1, 2], "cuts": [3], "by": "random"},
        "task_options": {"max_new_tokens": 4},
    }
    write(project, {"evaluations": {"one": ONE, "two": asked}})
    said = dry_run(project, "--printshellcmds")
    assert said.returncode == 0, said.stderr
    commands = re.findall(r"infoflow\.cli (evaluate .+)", said.stdout)
    assert len(commands) == 2 + 3
    (second,) = (command for command in commands if "--shard 2/3" in command)
    assert "tiny-llava-1.5 pope topk_by_cut --limit=9" in second
    assert "'--parameter=keeps=[1, 2]'" in second
    assert "--parameter=by=random" in second
    assert "--task-option=max_new_tokens=4" in second
    assert said.stdout.count("gpu=1") == 3
    assert len(re.findall(r"infoflow\.cli merge", said.stdout)) == 2


@pytest.mark.slow
def test_it_runs_here_and_then_has_nothing_to_do(project: Path) -> None:
    write(project, {"evaluations": {"one": ONE | {"shards": 1, "limit": 3}}})
    run = ["--snakefile", "evaluation.smk", "--cores", "2"]
    said = forked.snakemake(run, project, os.environ)
    assert said.returncode == 0, said.stderr
    assert "3 in this shard of only the first 3 of 500 items of pope test" in said.stderr
    note = (project / "results" / "evaluations" / "one.txt").read_text().strip()
    assert len(list((project / note).glob("*.parquet"))) == 1
    again = dry_run(project)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_committed_evaluations_and_profile_are_sound(project: Path) -> None:
    said = dry_run(project, "--quiet")
    assert said.returncode == 0, said.stderr
    profile = yaml.safe_load((project / "profiles" / "slurm" / "config.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["restart-times"] > 0, "a job out of time goes on where it was"
