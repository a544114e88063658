"""The book's graph: every notebook run and the rendering, each with all it depends on.

Snakemake re-runs what lacks its result or whose inputs changed in content, and nothing else;
`snakemake --dry-run` tells what and why.
"""

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from infoflow.errors import InfoflowError
from infoflow.parameters import notebook_parameters
from infoflow.results.sources import notebook_files
from infoflow.workflow import as_options, check_given, read_checked, text_given


PYTHON = shlex.quote(sys.executable)
JUPYTER_BOOK = shlex.quote(str(Path(sys.executable).with_name("jupyter-book")))
NO_MODEL = SHAPES = "shapes"
LIBRARY = Path("lib/infoflow").resolve()  # of this checkout, whichever is installed
ZOO = {path.name for path in Path("lib/infoflow/zoo").glob("*")}
DATA = {"lib/infoflow/claims/paper.py": "lib/infoflow/claims/paper_values.yml"}


def files(folder, pattern="*"):
    found = [path for path in Path(folder).rglob(pattern) if path.is_file()]
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)


def read_experiments():
    """Read experiments.yml, with what this build is given instead of it."""
    given = {**config, **text_given(workflow.config_settings.config_args, ("checkpoint", "source"))}
    if models := os.environ.get("MODELS", "").split():
        given["models"] = models
    read = read_checked("experiments", given)
    for name, asked in read["notebooks"].items():
        place = f"experiments.yml: notebooks: {name}"
        notebook = Path(f"notebooks/{name}.ipynb")
        if not notebook.exists():
            raise InfoflowError(f"experiments.yml: there is no {notebook}.")
        for part in ("parameters", "hub"):
            check_given(notebook, asked.get(part, {}), f"{place}: {part}")
    if shipped := sorted(ZOO & set(read.get("revisions", {}))):
        raise InfoflowError(f"experiments.yml: revisions: {shipped[0]} is not on the hub; drop it.")
    only = [model for asked in read["notebooks"].values() for model in asked.get("models", [])]
    # asking the library imports torch, so only for the others
    if others := sorted({*read["models"], *read.get("revisions", {}), *only} - ZOO):
        command = [sys.executable, "-m", "infoflow.cli", "models"]
        known = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        if unknown := [name for name in others if name not in known]:
            raise InfoflowError(f"unknown model {unknown[0]!r}. Valid: {', '.join(known)}.")
    if "checkpoint" in read and not os.path.isdir(read["checkpoint"]):
        raise InfoflowError(f"CHECKPOINT={read['checkpoint']}: there is no such folder.")
    if "checkpoint" in read and any(set("{}") & set(path) for path in files(read["checkpoint"])):
        # Snakemake takes braces in an input's name for a wildcard, and knows no way to write them
        raise InfoflowError(f"CHECKPOINT={read['checkpoint']}: rename what has {{ or }} in its name.")
    return read


def refuse_source():
    """End with one line if SOURCE is nowhere, or if no page of this build would take it."""
    if SOURCE not in (SHAPES, "hub") and not os.path.isdir(SOURCE):
        sys.exit(f"error: SOURCE={SOURCE}: there is no such folder. Valid: shapes, hub, a folder.")
    if SOURCE != SHAPES and not set(config["models"]) - ZOO:
        sys.exit(
            f"error: SOURCE={SOURCE}: a model of the zoo knows Shapes alone. Name another with "
            "MODELS=, such as MODELS=llava-1.5-7b."
        )


try:
    config = read_experiments()
except InfoflowError as error:
    sys.exit(f"error: {error}")
# a model from the hub is asked the hub's benchmarks; with a checkpoint nothing need be fetched
SOURCE = config.get("source", SHAPES if "checkpoint" in config else "hub")
if "source" in config:
    refuse_source()

def models_for(notebook):
    """The models a notebook runs for; one about no model runs once, in a folder of its own."""
    only = config["notebooks"][notebook].get("models", config["models"])
    return [model for model in config["models"] if model in only] if only else [NO_MODEL]


RUNS = [f"{model}/{notebook}" for notebook in config["notebooks"] for model in models_for(notebook)]


def beside(run):
    """The zoo's other models of this build, if the first one's page is to show them as well."""
    model, notebook = run.split("/")
    first, *others = [name for name in models_for(notebook) if name in ZOO] or [None]
    shows = config["notebooks"][notebook].get("zoo", False)
    return others if shows and model == first else []


def takes_source(notebook):
    """Whether a notebook can ask about other items than Shapes'."""
    return "source" in notebook_parameters(Path(f"notebooks/{notebook}.ipynb"))


def source_for(notebook, model):
    """What a page is told of its items; nothing if it, or its model, is about Shapes alone."""
    if SOURCE == SHAPES or model in {NO_MODEL, *ZOO} or not takes_source(notebook):
        return {}
    if SOURCE == "hub":
        return {**config["notebooks"][notebook].get("hub", {}), "source": SOURCE}
    return {"source": str(Path(SOURCE).absolute())}


def model_of(wildcards):
    return wildcards.run.split("/")[0]


def notebook_of(wildcards):
    return wildcards.run.split("/")[1]


def seconds_of(job):
    """What a run costs on one core; None for a model not in the zoo, measured on none."""
    here = model_of(job.wildcards) in {NO_MODEL, *ZOO}
    return config["notebooks"][notebook_of(job.wildcards)]["seconds"] if here else None


def asks_whole(job):
    """Whether a page asks the benchmarks with all their items."""
    given = source_for(notebook_of(job.wildcards), model_of(job.wildcards))
    return given.get("limit", 0) is None


def rooms(wildcards):
    """The library's rooms that a notebook imports, directly or not, and the data they read."""
    found = notebook_files(Path(f"notebooks/{notebook_of(wildcards)}.ipynb"), LIBRARY)
    names = sorted(str(path.relative_to(Path.cwd())) for path in found)
    return [*names, *(data for room, data in DATA.items() if room in names)]


def weights(wildcards):
    """The files of the models shown: their folders in the zoo, or the checkpoint the user named."""
    if model_of(wildcards) == NO_MODEL:
        return []
    own = config.get("checkpoint", f"lib/infoflow/zoo/{model_of(wildcards)}")
    others = (f"lib/infoflow/zoo/{name}" for name in beside(wildcards.run))
    return [file for folder in (own, *others) for file in files(folder)]


def arguments(wildcards):
    """A run's parameters as options of `infoflow run`."""
    values = dict(config["notebooks"][notebook_of(wildcards)].get("parameters", {}))
    if model_of(wildcards) != NO_MODEL:
        values["model"] = model = model_of(wildcards)
        if "checkpoint" not in config and model in config.get("revisions", {}):
            values["model"] = f"{model}@{config['revisions'][model]}"
        if "checkpoint" in config:
            values["checkpoint"] = str(Path(config["checkpoint"]).absolute())
        if others := beside(wildcards.run):
            values["beside"] = others
    values |= source_for(notebook_of(wildcards), model_of(wildcards))
    return shlex.join(f"--parameter={text}" for text in as_options(values))


def pages(wildcards):
    """What the rendering reads besides the runs of this build, older runs among it."""
    runs = {f"book/runs/{run}.ipynb" for run in RUNS}
    prose = [path for path in files("book") if path not in runs]
    library = files("lib/infoflow", "*.py") + files("lib/infoflow/zoo", "card.json")
    measured = files("benchmarks/results")
    texts = [*map(str, Path().glob("*.md")), "_config.yml", "_toc.yml"]
    return [*prose, *library, *measured, *texts]


wildcard_constraints:
    # a run that this build does not ask for is rendered as it lies there
    run="|".join(map(re.escape, RUNS)),


onstart:
    # The limit of jobs a second, which is not needed here, has the scheduler look at all inputs of all
    # jobs every second, once for every job that was ever started: at last it keeps a core busy.
    workflow.scheduler.job_rate_limiter = None
    stale = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "notebook"]
    costs = [seconds_of(job) for job in stale]
    known = [cost for cost in costs if cost is not None]
    part = f" for {len(known)} of them" if len(known) < len(stale) else ""
    expected = f", {sum(known)} s of one core expected{part}" if known else ""
    if stale:
        print(f"{len(stale)} of {len(RUNS)} notebooks to run{expected}:")
    else:
        print("No notebook is stale; rendering the book.")
    for job, cost in zip(stale, costs, strict=True):
        told = "" if cost is None else f", {cost} s"
        print(f"  {job.wildcards.run}{told}. {workflow.dag.reason(job)}")
    sys.stdout.flush()
    if whole := sorted({model_of(job.wildcards) for job in stale if asks_whole(job)}):
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
        notebook=lambda wildcards: f"notebooks/{notebook_of(wildcards)}.ipynb",
        rooms=rooms,
        weights=weights,
        # what the same page of another model has measured need not be measured again
        others=lambda wildcards: [
            f"book/runs/{model}/{notebook_of(wildcards)}.ipynb" for model in beside(wildcards.run)
        ],
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
