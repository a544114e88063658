"""The command line: ask a model about an image, run a notebook, evaluate on a benchmark."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from infoflow.errors import InfoflowError

_UsageError: Any = typer.BadParameter.__base__  # of all wrong arguments; typer exports this one
Model = Annotated[
    str, typer.Argument(help="A name that `infoflow models` lists, a hub's org/name, or a folder.")
]
Notebook = Annotated[Path, typer.Argument(help="A notebook with a parameters cell.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Folder with the model's weights, instead of the hub's.")
]
ErrorPage = Annotated[
    Path | None,
    typer.Option(help="Where a failed run's page goes; beside the result if not said."),
]
Results = Annotated[Path | None, typer.Option(help="Folder of the result store.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Of what runs; repeats."),
]
app = typer.Typer(
    help="Where image information flows inside large vision-language models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def models() -> None:
    """List the models that can be loaded by name."""
    from infoflow import list_models

    for name in list_models():
        typer.echo(name)


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A name, a folder, or a config.json.")],
) -> None:
    """Say what can be measured of a model, on a tiny random one: its weights are not read."""
    from infoflow.evaluate.check import check_model

    for each in check_model(model):
        word = "works" if each.works else "refused"
        typer.echo(f"{word:7}  {each.name}: {each.word}")


@app.command()
def answer(
    model: Model,
    picture: Annotated[Path, typer.Argument(help="An image file.")],
    question: Annotated[str, typer.Argument(help="What to ask about it.")],
    checkpoint: Checkpoint = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
) -> None:
    """Ask a model about an image."""
    from infoflow import load_lvlm

    lvlm = load_lvlm(model, checkpoint=checkpoint)
    text = lvlm.answer(lvlm.prompt(picture, question), max_new_tokens=max_new_tokens)
    if not text:
        typer.echo("The answer is empty: the first token predicted is one that ends it.", err=True)
    typer.echo(text)


@app.command()
def run(
    notebook: Notebook,
    target: Annotated[Path, typer.Argument(help="Where the executed notebook goes.")],
    parameter: Parameters = None,
    error_page: ErrorPage = None,
    title: Annotated[str | None, typer.Option(help="What the progress bar says.")] = None,
) -> None:
    """Run a notebook with parameters; TARGET is written whole or not at all."""
    from infoflow.parameters import read_parameters
    from infoflow.runner import run_notebook

    values = read_parameters(notebook, parameter or [])
    typer.echo(run_notebook(notebook, target, values, error_page=error_page, title=title))


@app.command()
def refresh(notebook: Notebook, error_page: ErrorPage = None) -> None:
    """Run NOTEBOOK with its defaults on an empty result store; keep the outputs in it."""
    from infoflow.runner import refresh_notebook

    typer.echo(refresh_notebook(notebook, error_page=error_page))


@app.command()
def evaluate(
    model: Model,
    task: Annotated[str, typer.Argument(help="scienceqa, pope, textvqa or chair.")],
    measure: Annotated[str, typer.Argument(help="A name such as answers or truncation_by_cut.")],
    parameter: Parameters = None,
    source: Annotated[str, typer.Option(help="shapes, hub, or a folder with the data.")] = "shapes",
    split: Annotated[str, typer.Option(help="Which part of the data.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many items.")] = None,
    rule: Annotated[str | None, typer.Option(help="The scoring rule.")] = None,
    task_option: Annotated[
        list[str] | None,
        typer.Option("--task-option", "-t", metavar="NAME=VALUE", help="Of the task; repeats."),
    ] = None,
    checkpoint: Checkpoint = None,
    revision: Annotated[str | None, typer.Option(help="The weights' version on the hub.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    quantise: Annotated[str | None, typer.Option(help="8bit or 4bit.")] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="2/8: only the second of eight shares; rank: this process's own."),
    ] = None,
    results: Results = None,
) -> None:
    """Measure a model on a task, going on where it was stopped; print the result's folder."""
    from infoflow.evaluate import running
    from infoflow.models.lvlm import load_lvlm
    from infoflow.results.shards import Shard
    from infoflow.results.store import Store

    store = Store(results)
    settings = running.read_settings(measure, parameter or [])
    share = None if shard is None else Shard.parse(shard)
    items = running.load_items(task, source, split, limit, rule, task_option or [])
    typer.echo(f"{model}, {measure}, {running.counted(items, share)}", err=True)
    place = running.own_device(device) if shard == "rank" else device
    lvlm = load_lvlm(model, checkpoint, revision, place, dtype, quantise)
    folder, rows = running.evaluate(lvlm, items, measure, settings, store, share)
    if rows.empty and share is None:
        raise InfoflowError(f"{measure} gives no rows for these items.")
    typer.echo(f"{len(rows)} rows of {rows['item'].nunique()} items.", err=True)
    typer.echo(folder)


@app.command()
def costs(
    models: Annotated[
        list[str], typer.Argument(help="Names, as in llava-1.5-7b or org/name, or folders.")
    ],
) -> None:
    """Say what Table 1 should take on whole benchmarks, on one card of 80 GB."""
    from infoflow.evaluate.costs import costs_text

    typer.echo(costs_text(models))


@app.command()
def mystery(
    seed: Annotated[int, typer.Option(min=0, help="Of the fault; keep it from students.")],
    folder: Annotated[Path, typer.Option(help="A new folder for the model.")] = Path("mystery"),
    key: Annotated[bool, typer.Option("--key", help="Only print what the fault is.")] = False,
) -> None:
    """Write a model with one hidden fault for a student to find; the teacher's key is its seed."""
    from infoflow.interventions.mystery import mystery_model, write_mystery

    if key:
        fault = mystery_model(seed).fault.items()
        typer.echo(", ".join(f"{name}: {value}" for name, value in fault))
    else:
        write_mystery(folder, seed)
        typer.echo(folder)


@app.command()
def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="What `infoflow evaluate --shard` printed, of all shards.")
    ],
    results: Results = None,
) -> None:
    """Merge the shards of evaluations, checked for rows that are missing or there twice."""
    from infoflow.results.shards import merge as merge_shards
    from infoflow.results.store import Store

    for folder in merge_shards(folders, Store(results)):
        typer.echo(folder)


def _refusal(error: Exception) -> str | None:
    """Say what a user can mend; None for a mistake of ours, which shows where it comes from."""
    if isinstance(error, _UsageError):
        return str(error.format_message())
    if isinstance(error, InfoflowError | OSError | MemoryError | RecursionError | UnicodeError):
        return str(error) or repr(error)
    # of values a library complains when it reads a user's file; our own code raises InfoflowErrors
    *_, last = traceback.extract_tb(error.__traceback__)
    ours = Path(last.filename).is_relative_to(Path(__file__).parent)
    return repr(error) if isinstance(error, ValueError | KeyError) and not ours else None


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 2."""
    if len(sys.argv) == 1:
        app()  # the help, and it ends there
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if (refusal := _refusal(error)) is None:
            raise
        line = f"error: {' '.join(refusal.split())}"
        print(line.encode(errors="replace").decode(), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
