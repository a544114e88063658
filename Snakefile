"""The book's graph: every notebook run and the rendering, each with all it depends on.

Snakemake re-runs what lacks its result or whose inputs changed in content, and nothing else;
`snakemake --dry-run` says what and why.
"""

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from infoflow.errors import InfoflowError, one_line, unknown_name
from infoflow.files import files_below, read_checked
from infoflow.options import as_options
from infoflow.parameters import full_set, notebook_parameters


PYTHON = shlex.quote(sys.executable)
JUPYTER_BOOK = shlex.quote(str(Path(sys.executable).with_name("jupyter-book")))
SHAPES = "shapes"
ZOO = {path.name for path in Path("lib/infoflow/zoo").glob("*")}


def read_experiments():
    """Read experiments.yml, with what this build is given instead, exactly as it was typed."""
    given = {name: os.environ.get(name.upper()) for name in ("checkpoint", "source")}
    given["models"] = os.environ.get("MODELS", "").split()
    given = {name: each for name, each in given.items() if each}
    read = read_checked("experiments", config | given)
    for name, entry in read["notebooks"].items():
        for part in ("parameters", "hub", "others"):
            place = f"experiments.yml: notebooks: {name}: {part}"
            with one_line(place, InfoflowError):
                full_set(Path(f"notebooks/{name}.ipynb"), entry.get(part, {}))
    check_models(read)
    folder, source = read.get("checkpoint", "."), read.get("source", SHAPES)
    if not os.path.isdir(folder):
        raise InfoflowError(f"CHECKPOINT={folder}: there is no such folder.")
    if "checkpoint" in read and any(set("{}") & set(path) for path in files_below(folder)):
        # Snakemake takes braces in an input's name for a wildcard, and knows no way to write them
        raise InfoflowError(f"CHECKPOINT={folder}: rename what has {{ or }} in its name.")
    if source not in (SHAPES, "hub") and not os.path.isdir(source):
        valid = "Valid: shapes, hub, a folder."
        raise InfoflowError(f"SOURCE={source}: there is no such folder. {valid}")
    if source != SHAPES and not set(read["models"]) - ZOO:
        raise InfoflowError(
            f"SOURCE={source}: a model of the zoo knows Shapes alone. Name another with MODELS=, "
            "such as MODELS=llava-1.5-7b."
        )
    return read


def check_models(read):
    if shipped := sorted(ZOO & set(read.get("revisions", {}))):
        raise InfoflowError(f"experiments.yml: revisions: {shipped[0]} is not on the hub; drop it.")
    only = [model for entry in read["notebooks"].values() for model in entry.get("models", [])]
    # the library imports torch to list its models, so only for the others
    if others := sorted({*read["models"], *read.get("revisions", {}), *only} - ZOO):
        command = [sys.executable, "-m", "infoflow.cli", "models"]
        known = subprocess.check_output(command, text=True).split()
        if unknown := [name for name in others if name not in known]:
            raise unknown_name("model", unknown[0], known)


try:
    config = read_experiments()
except InfoflowError as error:
    sys.exit(f"error: {error}")
# a model from the hub is put to the hub's benchmarks; with a checkpoint nothing need be fetched
SOURCE = config.get("source", SHAPES if "checkpoint" in config else "hub")
# what a page may rest on, not what runs it: to run one again on stored rows is cheap
LIBRARY = [*files_below("lib/infoflow", "*.py"), *files_below("lib/infoflow", "paper_values.yml")]
LIBRARY += files_below("lib/infoflow/rows", "*.parquet")
LIBRARY = [path for path in LIBRARY if Path(path).name not in ("cli.py", "runner.py")]


def models_for(notebook):
    """The models a notebook runs for; one about no model runs once, in a folder of its own."""
    only = config["notebooks"][notebook].get("models", config["models"])
    return [model for model in config["models"] if model in only] if only else [SHAPES]


def helpers_of(code):
    """The files beside the notebooks that some code names, directly or by one another."""
    found, others = [], files_below("notebooks", "*.py")
    while named := [path for path in others if Path(path).stem in code]:
        found += named
        others = [path for path in others if path not in named]
        code = "".join(Path(path).read_text(encoding="utf-8") for path in named)
    return found


def plan(notebook, model):
    """All that a run of a notebook for a model is given and reads, and what it costs."""
    entry, path = config["notebooks"][notebook], Path(f"notebooks/{notebook}.ipynb")
    values, folders, others = dict(entry.get("parameters", {})), [], []
    if model != SHAPES:
        own, revision = config.get("checkpoint"), config.get("revisions", {}).get(model)
        values["model"] = f"{model}@{revision}" if revision and not own else model
        if own:
            values["checkpoint"] = str(Path(own).absolute())
        first, *rest = [name for name in models_for(notebook) if name in ZOO] or [None]
        values |= entry.get("others", {}) if model in rest else {}
        shown = {"built": rest, "all": sorted(ZOO - {model})}.get(entry.get("zoo"))
        if shown and model == first:
            values["beside"], others = shown, rest
        beside = values.get("beside", [])
        folders = [own or f"lib/infoflow/zoo/{model}", *(f"lib/infoflow/zoo/{n}" for n in beside)]
    in_zoo = model in {SHAPES, *ZOO}
    if SOURCE != SHAPES and not in_zoo and "source" in notebook_parameters(path):
        values |= entry.get("hub", {}) if SOURCE == "hub" else {}
        values["source"] = SOURCE if SOURCE == "hub" else str(Path(SOURCE).absolute())
    return {
        "model": model,
        "inputs": {
            "notebook": str(path),
            "helpers": helpers_of(path.read_text(encoding="utf-8")),
            "arms": files_below("book/arms") if notebook == "arms" else [],
            "weights": [file for folder in folders for file in files_below(folder)],
            # what the same page of another model has measured need not be measured again
            "others": [f"book/runs/{other}/{notebook}.ipynb" for other in others],
        },
        "arguments": shlex.join(f"--parameter={text}" for text in as_options(values)),
        # on one core; a model that is not in the zoo was measured on none
        "seconds": entry["seconds"] if in_zoo else None,
        "whole": values.get("source") == "hub" and values.get("limit", 0) is None,
    }


RUNS = {
    f"{model}/{notebook}": plan(notebook, model)
    for notebook in config["notebooks"]
    for model in models_for(notebook)
}


def pages(wildcards):
    """What the rendering reads besides the runs of this build, older runs among it."""
    prose = {*files_below("book")} - {f"book/runs/{run}.ipynb" for run in RUNS}
    library = files_below("lib/infoflow", "*.py") + files_below("lib/infoflow/zoo", "card.json")
    texts = [*map(str, Path().glob("*.md")), "_config.yml", "_toc.yml"]
    return [*sorted(prose), *library, *files_below("benchmarks/results"), *texts]


# the live page: its model, and what its folder is made of (a project without the page has none)
LIVE_MODEL = "tiny-llava-1.5"
LIVE = ["_build/static/live/still.html"] if os.path.isdir("book/live") else []


wildcard_constraints:
    # a run that is not part of this build is rendered as it lies there
    run="|".join(map(re.escape, RUNS)),


onstart:
    # The limit of jobs a second, not needed here, has the scheduler look at all inputs of all jobs
    # every second, once for every job that was ever started: at last it keeps a core busy.
    workflow.scheduler.job_rate_limiter = None
    stale = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "notebook"]
    plans = {job: RUNS[job.wildcards.run] for job in stale}
    known = [each["seconds"] for each in plans.values() if each["seconds"] is not None]
    part = f" for {len(known)} of them" if len(known) < len(stale) else ""
    expected = f", {sum(known)} s of one core expected{part}" if known else ""
    to_run = f"{len(stale)} of {len(RUNS)} notebooks to run{expected}:"
    print(to_run if stale else "No notebook is stale; rendering the book.")
    for job, each in plans.items():
        seconds = "" if each["seconds"] is None else f", {each['seconds']} s"
        print(f"  {job.wildcards.run}{seconds}. {workflow.dag.reason(job)}")
    sys.stdout.flush()
    if whole := sorted({each["model"] for each in plans.values() if each["whole"]}):
        subprocess.run([sys.executable, "-m", "infoflow.cli", "costs", *whole], check=True)


onerror:
    # once more at the end: the others ran on, and the message has long scrolled away
    for run in RUNS:
        page = Path(f"_build/failed/{run}.html")
        if page.exists():
            title = re.search("<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.DOTALL)
            print(f"{html.unescape(title[1])} See {page}.", file=sys.stderr)


rule book:
    input:
        runs=expand("book/runs/{run}.ipynb", run=RUNS),
        pages=pages,
        live=LIVE,
        packages="requirements.lock",
    output:
        "_build/html/index.html",
    threads: workflow.cores
    # from nothing: a page left over from an earlier rendering would look like a part of the book
    shell:
        "rm -rf _build/html _build/.doctrees"
        " && {JUPYTER_BOOK} build . -W -n --keep-going --quiet"


rule notebook:
    input:
        unpack(lambda wildcards: RUNS[wildcards.run]["inputs"]),
        library=LIBRARY,
        packages="requirements.lock",
    output:
        "book/runs/{run}.ipynb",
    params:
        arguments=lambda wildcards: RUNS[wildcards.run]["arguments"],
    # the cores are shared out among the runs, and the same way whichever of them are stale
    threads: max(1, workflow.cores // len(RUNS))
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} -m infoflow.cli run {input.notebook} {output}"
        " {params.arguments} --title {wildcards.run}"
        " --error-page _build/failed/{wildcards.run}.html > /dev/null"


rule live:
    input:
        files_below("book/live"),
        files_below(f"lib/infoflow/zoo/{LIVE_MODEL}"),
        library=LIBRARY,
        packages="requirements.lock",
    output:
        "_build/static/live/still.html",
    threads: 1
    shell:
        "OMP_NUM_THREADS={threads} {PYTHON} book/live/export.py {LIVE_MODEL} _build/static/live"
