"""Where the hub has the benchmarks, and how their rows are fetched."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from infoflow.data.sets.rows import PICTURE, Rows, pictures_of, require_columns, require_no_labels
from infoflow.errors import InfoflowError


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
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)
_ORGANISATION_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_TIMEOUT = 10.0  # seconds for which the hub may be silent


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
            network once the split is in the cache; ``HF_HUB_OFFLINE=1`` spares the half minute of
            attempts to reach one.

    Returns:
        The rows; and what to record as their source: repository and commit.

    Raises:
        InfoflowError: The organisation or the revision is no name, the hub is out of reach or has
            no such set, revision or split, or a column is missing or of another kind.
    """
    known = HUB[benchmark]
    keeper = _name(organisation, known.organisation, _ORGANISATION_NAME, "organisation")
    wanted = _name(revision, known.revision, _REVISION, "revision")
    repository = f"{keeper}/{known.name}"
    where = f"{repository}, split {split!r}"
    try:
        commit = _commit(repository, wanted)
        rows = _rows(_load(repository, known.config, split, commit), columns, where)
    except InfoflowError:
        raise
    except Exception as error:  # the hub's clients raise errors of several HTTP libraries
        raise InfoflowError(_unreachable(benchmark, repository, wanted, error)) from error
    return rows, f"hub {repository}@{commit}"


def _name(given: str | None, default: str | None, valid: re.Pattern[str], what: str) -> str | None:
    if given is None:
        return default
    if not isinstance(given, str) or not valid.fullmatch(given) or ".." in given:
        raise InfoflowError(f"{what} is {given!r}; valid: the name of one on the hub.")
    return given


def _commit(repository: str, revision: str | None) -> str:
    """Look up the full commit: results are recorded under it, not under a branch that moves."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(repository, revision=revision, timeout=_TIMEOUT).sha)


def _load(repository: str, config: str | None, split: str, commit: str) -> Any:
    from datasets import load_dataset

    return load_dataset(repository, config, split=split, revision=commit)


def _rows(dataset: Any, columns: Sequence[str], where: str) -> Rows:
    from datasets import ClassLabel, Image

    require_columns(dataset.column_names, columns, where)
    labels = [name for name in columns if isinstance(dataset.features[name], ClassLabel)]
    require_no_labels(labels, where)
    encoded = dataset.select_columns(list(columns)).cast_column(PICTURE, Image(decode=False))
    read = partial(_content, encoded, where)
    pictures = pictures_of(encoded.data.column(PICTURE), read, None, where)
    return Rows(where, encoded.remove_columns(PICTURE).to_list(), pictures)


def _content(encoded: Any, where: str, row: int) -> bytes:
    try:
        content: bytes = encoded[row][PICTURE]["bytes"]
    except Exception as error:  # of the cache's file, or of whatever reads it
        raise InfoflowError(
            f"row {row} of {where} cannot be read ({type(error).__name__})."
        ) from error
    return content


def _unreachable(benchmark: str, repository: str, revision: str | None, error: Exception) -> str:
    version = f" at revision {revision!r}" if revision else ""
    reason = " ".join(str(error).split())
    return (
        f"{benchmark} could not be fetched from the hub ({repository}{version}): "
        f"{type(error).__name__}: {reason}. Another place on the hub is chosen by organisation= "
        "and revision=. With the data on this machine, give their folder: "
        f"load_task({benchmark!r}, source=folder)."
    )
