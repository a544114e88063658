"""Evaluations in shards: one job a shard, on this machine or on a cluster, and a checked merge.

What runs stands in evaluations.yml. A job that was killed goes on where it was: its rows are in
the result store, and what Snakemake knows as its output is only the note that it is finished.
"""

import shlex
import sys
from pathlib import Path

from infoflow.errors import InfoflowError
from infoflow.results.sources import room_files
from infoflow.workflow import as_options, read_checked


PYTHON = shlex.quote(sys.executable)
RESULTS = "results"
LIBRARY = Path("lib/infoflow").resolve()  # of this checkout, whichever is installed
OPTIONS = ("checkpoint", "revision", "dtype", "source", "split", "limit", "rule")


def read_evaluations():
    """Read evaluations.yml, or end with one line that names what is wrong in it."""
    try:
        read = read_checked("evaluations")["evaluations"]
        if workflow.is_main_process:  # a job is checked when it starts
            from infoflow.evaluate.running import check_evaluation

            for name, asked in read.items():
                check_evaluation(asked, f"evaluations.yml: evaluations: {name}")
    except InfoflowError as error:
        sys.exit(f"error: {error}")
    return read


EVALUATIONS = read_evaluations()


def shards_of(name):
    count = EVALUATIONS[name]["shards"]
    return [f"{RESULTS}/evaluations/{name}/{n}-of-{count}.txt" for n in range(1, count + 1)]


def arguments(wildcards):
    """An evaluation as arguments of `infoflow evaluate`."""
    asked = EVALUATIONS[wildcards.name]
    parts = [asked["model"], asked["task"], asked["measure"]]
    parts += [f"--{name}={asked[name]}" for name in OPTIONS if name in asked]
    parts += [f"--parameter={text}" for text in as_options(asked.get("parameters", {}))]
    parts += [f"--task-option={text}" for text in as_options(asked.get("task_options", {}))]
    return shlex.join(parts)


def rooms(wildcards):
    """The code that measures. A change that changes no result costs a look at the store."""
    found = room_files(["infoflow.cli", "infoflow.evaluate.running"], LIBRARY)
    return sorted(str(path.relative_to(Path.cwd())) for path in found)


def weights(wildcards):
    """The model's own files: its folder in the zoo, or the checkpoint that is named."""
    asked = EVALUATIONS[wildcards.name]
    folder = Path(asked.get("checkpoint", f"lib/infoflow/zoo/{asked['model']}")).expanduser()
    if set("{}") & set(str(folder)):  # which Snakemake takes for a wildcard
        sys.exit(f"error: evaluations.yml: checkpoint {folder}: a path with braces; rename it.")
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


wildcard_constraints:
    number=r"\d+",
    total=r"\d+",
    name="[A-Za-z0-9][A-Za-z0-9._-]*",


localrules:
    evaluation,
    merge,


onstart:
    stale = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "shard"]
    print(f"{len(stale)} of {sum(each['shards'] for each in EVALUATIONS.values())} shards to run.")
    sys.stdout.flush()


rule evaluation:
    input:
        expand(f"{RESULTS}/evaluations/{{name}}.txt", name=EVALUATIONS),


rule merge:
    input:
        lambda wildcards: shards_of(wildcards.name),
    output:
        f"{RESULTS}/evaluations/{{name}}.txt",
    shell:
        "{PYTHON} -m infoflow.cli merge $(cat {input}) --results {RESULTS} > {output}"


rule shard:
    input:
        rooms=rooms,
        weights=weights,
        packages="requirements.lock",
    output:
        f"{RESULTS}/evaluations/{{name}}/{{number}}-of-{{total}}.txt",
    params:
        arguments=arguments,
    threads: 1
    resources:
        gpu=lambda wildcards: EVALUATIONS[wildcards.name].get("gpus", 1),
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} -m infoflow.cli evaluate {params.arguments}"
        " --shard {wildcards.number}/{wildcards.total} --results {RESULTS} > {output}"
