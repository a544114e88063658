"""Where the hub has the benchmarks, and how their rows are fetched."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.tasks.rows import PICTURE, Rows, require_columns


@dataclass(frozen=True)
class HubSet:
    """A data set of the hub.

    Attributes:
        name: Its name.
        organisation: Who keeps it.
        config: Which of its parts is meant; None for its only or default one.
        revision: Commit, branch or tag; None for the newest.
    """

    name: str
    organisation: str
    config: str | None = None
    revision: str | None = None


# The lmms-lab sets moved to this organisation on 2026-07-30. No commit of theirs there is known to
# us; that of lmms-lab/POPE was 4db1276663dfa5eb8ad16a52d24c31a09e470896.
_ORGANISATION = "lmms-lab-encoder"

HUB: dict[str, HubSet] = {
    "scienceqa": HubSet("ScienceQA", _ORGANISATION, config="ScienceQA-IMG"),
    "pope": HubSet("POPE", _ORGANISATION),
    "textvqa": HubSet("textvqa", _ORGANISATION),
    "chair": HubSet("mscoco_chair", "tsunghanwu"),
}
"""The set of each benchmark, with what ``load_task`` takes unless told otherwise. Where no revision
stands, the commit that was the newest is looked up and recorded."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch(
    benchmark: str,
    split: str,
    columns: Sequence[str],
    organisation: str | None = None,
    revision: str | None = None,
) -> tuple[Rows, str]:
    """Fetch a split through ``datasets``, which keeps it in its cache.

    Args:
        benchmark: One of ``HUB``.
        split: The split, as the hub names it.
        columns: The columns that are needed, ``image`` among them.
        organisation: Who keeps the set, in place of the one in ``HUB``.
        revision: Commit, branch or tag, in place of the one in ``HUB``. A full commit needs no
            network once the split is in the cache.

    Returns:
        The rows; and what to record as their source: repository and commit.

    Raises:
        InfoflowError: The hub is out of reach or has no such set, revision or split, or a column
            is missing.
    """
    known = HUB[benchmark]
    repository = f"{organisation or known.organisation}/{known.name}"
    wanted = revision or known.revision
    import httpx
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = _commit(repository, wanted)
        dataset = _load(repository, known.config, split, commit)
    except (DatasetsError, HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        raise InfoflowError(_unreachable(benchmark, repository, wanted, error)) from error
    return _rows(dataset, columns, f"{repository}, split {split!r}"), f"hub {repository}@{commit}"


def _commit(repository: str, revision: str | None) -> str:
    """Look up the full commit: results are recorded under it, not under a branch that moves."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(repository, revision=revision).sha)


def _load(repository: str, config: str | None, split: str, commit: str) -> Any:
    from datasets import load_dataset

    return load_dataset(repository, config, split=split, revision=commit)


def _rows(dataset: Any, columns: Sequence[str], where: str) -> Rows:
    from datasets import Image

    require_columns(dataset.column_names, columns, where)
    encoded = dataset.select_columns(list(columns)).cast_column(PICTURE, Image(decode=False))
    fields = encoded.remove_columns(PICTURE).to_list()
    has_picture = encoded.data.column(PICTURE).is_valid().to_pylist()
    return Rows(where, fields, has_picture, lambda row: encoded[row][PICTURE]["bytes"] or b"")


def _unreachable(benchmark: str, repository: str, revision: str | None, error: Exception) -> str:
    version = f" at revision {revision!r}" if revision else ""
    return (
        f"{benchmark} could not be fetched from the hub ({repository}{version}): "
        f"{type(error).__name__}. Another place on the hub is chosen by organisation= and "
        "revision=. With the data on this machine, give their folder: "
        f"load_task({benchmark!r}, source=folder)."
    )
