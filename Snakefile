"""The book's graph: every notebook run and the rendering, each with all it depends on.

Snakemake re-runs what lacks its result or whose inputs changed in content, and nothing else;
`snakemake --dry-run` tells what and why.
"""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

from snakemake.utils import validate


configfile: "experiments.yml"


validate(config, "experiments.schema.yml")

# by its path: importing the package would import torch, if only to find that nothing is stale
rooms_behind = runpy.run_path("lib/infoflow/sources.py")["notebook_files"]

PYTHON = shlex.quote(sys.executable)
RUNS = [
    f"{model}/{notebook}"
    for notebook, entry in config["notebooks"].items()
    for model in config["models"]
    if model in entry.get("models", config["models"])
]


def model_of(wildcards):
    return wildcards.run.split("/")[0]


def notebook_of(wildcards):
    return wildcards.run.split("/")[1]


def files(folder, pattern="*"):
    return sorted(str(path) for path in Path(folder).rglob(pattern) if path.is_file())


def rooms(wildcards):
    """The library's rooms that a notebook imports, directly or not."""
    found = rooms_behind(Path(f"notebooks/{notebook_of(wildcards)}.ipynb"))
    return sorted(str(path.relative_to(Path.cwd())) for path in found)


def weights(wildcards):
    """A model's own files: its folder in the zoo, or the checkpoint the user named."""
    return files(config.get("checkpoint", f"lib/infoflow/zoo/{model_of(wildcards)}"))


def arguments(wildcards):
    """A run's parameters as options of `infoflow run`."""
    values = {
        "model": model_of(wildcards),
        **config["notebooks"][notebook_of(wildcards)].get("parameters", {}),
    }
    if "checkpoint" in config:
        values["checkpoint"] = str(Path(config["checkpoint"]).absolute())
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
    return shlex.join(f"--parameter={name}={text}" for name, text in texts.items())


def pages(wildcards):
    """What the rendering reads besides the runs of this build, older runs among it."""
    runs = {f"book/runs/{run}.ipynb" for run in RUNS}
    prose = [path for path in files("book") if path not in runs]
    library = files("lib/infoflow", "*.py") + files("lib/infoflow/zoo", "card.json")
    return [*prose, *library, *map(str, Path().glob("*.md")), "_config.yml", "_toc.yml"]


wildcard_constraints:
    # a run that this build does not ask for is rendered as it lies there
    run="|".join(map(re.escape, RUNS)),


onstart:
    stale = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "notebook"]
    seconds = {
        job.wildcards.run: config["notebooks"][notebook_of(job.wildcards)]["seconds"]
        for job in stale
    }
    print(f"{len(stale)} of {len(RUNS)} notebooks to run, about {sum(seconds.values())} s of work")
    for job in stale:
        print(f"  {job.wildcards.run}  {seconds[job.wildcards.run]} s  {workflow.dag.reason(job)}")
    sys.stdout.flush()


rule book:
    input:
        runs=expand("book/runs/{run}.ipynb", run=RUNS),
        pages=pages,
        packages="requirements.lock",
    output:
        "_build/html/index.html",
    threads: workflow.cores
    # from nothing: a page left over from an earlier rendering would look like a part of the book
    shell:
        "rm -rf _build/html _build/.doctrees"
        " && {PYTHON} -m jupyter_book build . -W --keep-going --quiet"


rule notebook:
    input:
        notebook=lambda wildcards: f"notebooks/{notebook_of(wildcards)}.ipynb",
        rooms=rooms,
        weights=weights,
        packages="requirements.lock",
    output:
        "book/runs/{run}.ipynb",
    params:
        arguments=arguments,
    # the cores are shared out among the runs, and the same way whichever of them are stale
    threads: max(1, workflow.cores // len(RUNS))
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} -m infoflow.cli run {input.notebook} {output}"
        " {params.arguments} --title {wildcards.run}"
        " --error-page _build/failed/{wildcards.run}.html > /dev/null"
