"""Measure what the training's seed alone moves: ``python -m zoo.seeds FOLDER FOLDER``.

Models of the shipped one's recipe, trained with other seeds, answer the very items of its pages.
Their rows are shipped beside its weights, ``seeds.parquet``, with the recipe and the digest of the
weights of each; those weights are not. So nobody can make the rows again but who has trained the
models: ``--check FOLDER`` measures some items anew. Answers are kept in the result store, so an
interrupted run goes on.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

import infoflow
from infoflow.data.load import load_task
from infoflow.data.shapes import ITEMS_PER_SPLIT
from infoflow.data.task import Task
from infoflow.errors import InfoflowError
from infoflow.evaluate.flow import SPANS, flow_by_layer
from infoflow.evaluate.truncation import truncation_by_cut
from infoflow.files import atomic_write, read_json
from infoflow.models.checkpoint import weights_digest
from infoflow.models.lvlm import LVLM, load_lvlm
from infoflow.results.store import Store
from zoo.command import ending_in_one_line
from zoo.train import NAME, RECIPE

FILE = "seeds.parquet"
ABOUT = b"infoflow.seeds"
"""Where the table's metadata have the digest of the items and, by seed, recipe and digest."""
TASKS = ("scienceqa", "pope", "textvqa", "chair")
SPLITS = ("calibration", "test")
SECONDS_AN_ITEM = 0.1
"""What an item costs on one core at most, all cuts and the flow together; said beforehand."""

_OWN = ("seed", "device", "command")  # of a recipe: on another device a run rounds otherwise
_DECIMALS = 5  # of a share of attention
_EVERY = 50  # which items are digested with their pictures, and measured anew by a check
_TOLERANCE = 1e-3  # as of all rows that come with the package
_ZOO = Path(infoflow.__file__).parent / "zoo" / NAME


def measure_seeds(folders: Sequence[Path], store: Store, limit: int) -> pa.Table:
    """Measure models that differ from the shipped one in nothing but the seed.

    Args:
        folders: Their checkpoints, as ``make zoo`` wrote them.
        store: Where the answers are kept.
        limit: Items a task and split.

    Returns:
        One row a ``seed``, ``quantity``, ``task``, ``split``, ``item`` and place ``at``, with its
        ``value``: of ``score`` the place is a cut, from 0 to L, of the attention shares ``system``,
        ``image`` and ``user``, of test items alone, a layer in the paper's count.

    Raises:
        InfoflowError: A folder is no model of the recipe, or two have one seed or the same weights.
    """
    of_seeds = about(folders)
    rows = {
        seed: pd.concat(_rows(load_lvlm(NAME, checkpoint=folder, device="cpu"), store, limit))
        for seed, folder in zip(of_seeds, folders, strict=True)
    }
    return as_table(rows, {"items": items_digest(limit), "seeds": of_seeds})


def about(folders: Sequence[Path]) -> dict[str, Any]:
    """Read recipes and digests by seed; refuse what is no other seed of the shipped recipe."""
    shipped, known = _recipe(_ZOO), {weights_digest([_ZOO]): _ZOO}
    by_seed = {shipped["seed"]: _ZOO}
    found: dict[str, Any] = {}
    for folder in folders:
        recipe, digest = _recipe(folder), weights_digest([folder])
        names = [*dict.fromkeys([*shipped, *recipe])]
        other = [n for n in names if n not in _OWN and recipe.get(n) != shipped.get(n)]
        if other:
            raise InfoflowError(
                f"{folder} is not of the recipe of {_ZOO}: they differ in {', '.join(other)}."
            )
        for kind, of_kind, own in (("seed", by_seed, recipe["seed"]), ("weights", known, digest)):
            if own in of_kind:
                raise InfoflowError(
                    f"{of_kind[own]} and {folder} have one {kind}, {own}; give models of different "
                    "seeds, each once."
                )
            of_kind[own] = folder
        found[str(recipe["seed"])] = {"digest": digest, "recipe": recipe}
    return found


def _recipe(folder: Path) -> dict[str, Any]:
    path = folder / RECIPE
    recipe = read_json(path) if path.is_file() else None
    if not isinstance(recipe, dict) or "seed" not in recipe:
        raise InfoflowError(
            f"{folder} has no {RECIPE} with a seed; give the folder that `make zoo` wrote."
        )
    return recipe


def _rows(lvlm: LVLM, store: Store, limit: int) -> Iterator[pd.DataFrame]:
    for split, name in product(SPLITS, TASKS):
        yield from measured(lvlm, load_task(name, split=split, limit=limit), store)


def measured(lvlm: LVLM, task: Task, store: Store) -> Iterator[pd.DataFrame]:
    """Measure what is shipped of a task and split: score by cut, and of test items the flow."""
    yield _long(truncation_by_cut(lvlm, task, store), "cut", ["score"], task)
    if task.split == "test":
        yield _long(flow_by_layer(lvlm, task, store), "layer", SPANS, task)


def _long(rows: pd.DataFrame, place: str, values: Sequence[str], task: Task) -> pd.DataFrame:
    melted = rows.melt(["item", place], list(values), "quantity").rename(columns={place: "at"})
    return melted.assign(task=task.name, split=task.split)


def as_table(rows: Mapping[str, pd.DataFrame], known: Mapping[str, Any]) -> pa.Table:
    """Put rows by seed, and what is known of the seeds, into the table that is shipped."""
    together = pd.concat(rows, names=["seed"]).reset_index("seed")
    names = ["seed", "quantity", "task", "split", "item"]
    small = together[names].astype("category")
    small["at"] = together["at"].astype("int8")
    small["value"] = together["value"].astype(float).round(_DECIMALS).astype("float32")
    table = pa.Table.from_pandas(small, preserve_index=False)
    return table.replace_schema_metadata({ABOUT: json.dumps(dict(known))})


def items_digest(limit: int) -> str:
    """Digest questions, answers and pictures of every fiftieth item, of all tasks and splits."""
    digest = hashlib.sha256()
    for split, name in product(SPLITS, TASKS):
        task = load_task(name, split=split, limit=limit)
        for sample in _some(task):
            digest.update(f"{sample.id}\n{sample.question}\n{sample.answer}\n".encode())
            digest.update(sample.image.tobytes())
    return digest.hexdigest()


def check(file: Path, folders: Sequence[Path], store: Store) -> list[str]:
    """Hold shipped rows to the items of today, and to what models measure anew, if they are there.

    Args:
        file: The rows.
        folders: Such of their models as there are.
        store: An empty one, so that nothing is taken from an earlier measurement.

    Returns:
        What was held to what, in words.

    Raises:
        InfoflowError: Rows are of other items or differ, or a model is none of the file's.
    """
    table = pq.read_table(file)
    shipped, known = table.to_pandas(), json.loads(table.schema.metadata[ABOUT])
    limit = shipped["item"].nunique() // len(TASKS) // len(SPLITS)
    if known["items"] != items_digest(limit):
        raise InfoflowError(f"the rows of {file} are of other items; `make seeds` measures anew.")
    lines, of_folders = ["the items are those of today"], about(folders)
    for seed in known["seeds"]:
        if seed not in of_folders:
            lines.append(f"seed {seed}: no weights here, so nothing was measured anew")
    for (seed, given), folder in zip(of_folders.items(), folders, strict=True):
        if known["seeds"].get(seed, {}).get("digest") != given["digest"]:
            raise InfoflowError(f"{folder} is not the seed {seed} that {file} has rows of.")
        lvlm, own = load_lvlm(NAME, checkpoint=folder, device="cpu"), shipped[shipped.seed == seed]
        for split, name in product(SPLITS, TASKS):
            some = _some(load_task(name, split=split, limit=limit))
            _compare(measured(lvlm, some, store), own, f"seed {seed}")
        lines.append(f"seed {seed}: every fiftieth item, measured anew, has the shipped rows")
    return lines


def _some(task: Task) -> Task:
    return replace(task, samples=[task[place] for place in range(0, len(task), _EVERY)])


def _compare(anew: Iterator[pd.DataFrame], shipped: pd.DataFrame, whose: str) -> None:
    keys = ["quantity", "item", "at"]
    for rows in anew:
        both = rows.merge(shipped, "left", keys, suffixes=("", "_shipped"))
        off = both[~np.isclose(both["value"], both["value_shipped"], 0, _TOLERANCE)]
        if len(off):
            raise InfoflowError(
                f"{whose}: {off.iloc[0]['item']} has other rows when measured anew."
            )


def main(
    folders: Annotated[list[Path] | None, typer.Argument(help="Models of other seeds.")] = None,
    checking: Annotated[
        bool, typer.Option("--check", help="Hold the shipped rows to such models as there are.")
    ] = False,
    target: Annotated[Path, typer.Option(help="The rows.")] = _ZOO / FILE,
    limit: Annotated[
        int, typer.Option(min=2, max=ITEMS_PER_SPLIT, help="Items a task and split.")
    ] = ITEMS_PER_SPLIT,
) -> None:
    """Measure tiny-llava-1.5 of other seeds on all items: about seven minutes a seed."""
    torch.set_num_threads(1)
    with ending_in_one_line():
        if checking:
            with TemporaryDirectory() as results:
                typer.echo("\n".join(check(target, folders or [], Store(results))))
            return
        if not folders:
            raise InfoflowError("no models of other seeds; give the folders that `make zoo` wrote.")
        n_items = len(folders) * len(TASKS) * len(SPLITS) * limit
        typer.echo(
            f"Other seeds: {len(folders)}; {len(TASKS)} tasks, {limit} items of each of "
            f"{len(SPLITS)} splits: at most {n_items * SECONDS_AN_ITEM / 60:.0f} minutes on one "
            "core, less what the store holds."
        )
        sink = pa.BufferOutputStream()
        table = measure_seeds(folders, Store(), limit)
        pq.write_table(table, sink, compression="zstd", compression_level=19)
        atomic_write(target, sink.getvalue().to_pybytes())
    typer.echo(f"{target} written.")


if __name__ == "__main__":
    typer.run(main)
