"""Evaluations in shards: one job a shard, on this machine or on a cluster, and a checked merge.

What runs stands in evaluations.yml. A job that was killed goes on where it was: its rows are in
the result store, and what Snakemake knows as its output is only the note that it is finished.
"""

import shlex
import sys
from pathlib import Path

from infoflow.errors import InfoflowError
from infoflow.files import files_below, read_checked
from infoflow.options import as_options
from infoflow.results.sources import FOLDERS


PYTHON = shlex.quote(sys.executable)
RESULTS = "results"
OPTIONS = ("checkpoint", "revision", "dtype", "source", "split", "limit", "rule")


try:
    EVALUATIONS = read_checked("evaluations")["evaluations"]
    if workflow.is_main_process:  # a job is checked when it starts
        from infoflow.evaluate.running import check_evaluation

        for name, entry in EVALUATIONS.items():
            check_evaluation(entry, f"evaluations.yml: evaluations: {name}")
except InfoflowError as error:
    sys.exit(f"error: {error}")
NOTES = f"{RESULTS}/evaluations"


def shards_of(wildcards):
    count = EVALUATIONS[wildcards.name]["shards"]
    return [f"{NOTES}/{wildcards.name}/{n}-of-{count}.txt" for n in range(1, count + 1)]


def arguments(wildcards):
    """An evaluation as arguments of `infoflow evaluate`."""
    entry = EVALUATIONS[wildcards.name]
    parts = [entry["model"], entry["task"], entry["measure"]]
    parts += [f"--{name}={entry[name]}" for name in OPTIONS if name in entry]
    parts += [f"--parameter={text}" for text in as_options(entry.get("parameters", {}))]
    parts += [f"--task-option={text}" for text in as_options(entry.get("task_options", {}))]
    return shlex.join(parts)


def weights(wildcards):
    """The model's own files: its folder in the zoo, or the checkpoint that is named."""
    entry = EVALUATIONS[wildcards.name]
    folder = Path(entry.get("checkpoint", f"lib/infoflow/zoo/{entry['model']}")).expanduser()
    if set("{}") & set(str(folder)):  # which Snakemake takes for a wildcard
        sys.exit(f"error: evaluations.yml: checkpoint {folder}: a path with braces; rename it.")
    return files_below(folder)


wildcard_constraints:
    number=r"\d+",
    total=r"\d+",
    name="[A-Za-z0-9][A-Za-z0-9._-]*",


localrules: evaluation, merge


onstart:
    stale = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "shard"]
    print(f"{len(stale)} of {sum(each['shards'] for each in EVALUATIONS.values())} shards to run.")
    sys.stdout.flush()


rule evaluation:
    input:
        expand(f"{NOTES}/{{name}}.txt", name=EVALUATIONS),


rule merge:
    input:
        shards_of,
    output:
        f"{NOTES}/{{name}}.txt",
    shell:
        "{PYTHON} -m infoflow.cli merge $(cat {input}) --results {RESULTS} > {output}"


rule shard:
    input:
        # a change that changes no result costs a look at the store
        code=[files_below(f"lib/infoflow/{folder}", "*.py") for folder in (*FOLDERS, "evaluate")],
        weights=weights,
        packages="requirements.lock",
    output:
        f"{NOTES}/{{name}}/{{number}}-of-{{total}}.txt",
    params:
        arguments=arguments,
    threads: 1
    resources:
        gpu=lambda wildcards: EVALUATIONS[wildcards.name].get("gpus", 1),
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} -m infoflow.cli evaluate {params.arguments}"
        " --shard {wildcards.number}/{wildcards.total} --results {RESULTS} > {output}"
