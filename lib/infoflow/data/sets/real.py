"""Loading a benchmark's own data: from the hub, from parquet files or from the originals."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infoflow.data.captions import Table
from infoflow.data.sets import hub
from infoflow.data.sets.benchmark import Benchmark, Wishes
from infoflow.data.sets.chair import CHAIR, read_numbers
from infoflow.data.sets.entries import Entries, Entry, digest, require_pictures, require_sound
from infoflow.data.sets.files import is_file
from infoflow.data.sets.kinds import require_items
from infoflow.data.sets.pope import POPE
from infoflow.data.sets.rows import PICTURE, Rows, read_parquet
from infoflow.data.sets.scienceqa import SCIENCEQA
from infoflow.data.sets.shards import files_of_split, require_told_size
from infoflow.data.sets.synonyms import own_synonyms, published_synonyms, synonyms_digest
from infoflow.data.sets.textvqa import TEXTVQA
from infoflow.errors import InfoflowError, unknown_name
from infoflow.files import require_path

BENCHMARKS: Mapping[str, Benchmark] = {
    "scienceqa": SCIENCEQA,
    "pope": POPE,
    "textvqa": TEXTVQA,
    "chair": CHAIR,
}


@dataclass(frozen=True)
class Loaded:
    """The items of a split, and what is to be recorded of them.

    Attributes:
        samples: The items.
        source: Where they come from: the hub's commit, or a digest of the folder's items.
        split: The benchmark's own name of the split.
        synonyms: The table of synonyms; empty but for CHAIR.
        n_whole: How many items the split has without a limit.
    """

    samples: Entries
    source: str
    split: str
    synonyms: Table
    n_whole: int


def load(
    name: str,
    source: str | Path,
    split: str,
    limit: int | None,
    rule: str,
    *,
    organisation: str | None,
    revision: str | None,
    ocr: bool,
    synonyms: str | Path | None,
    pictures: str | Path | None,
) -> Loaded:
    """Load a benchmark's own data; the arguments are those of :func:`infoflow.data.load.load_task`.

    Raises:
        UnknownNameError: There is no such split.
        InfoflowError: The data are missing, incomplete or damaged.
    """
    benchmark = BENCHMARKS[name]
    if split not in benchmark.splits:
        raise unknown_name(f"split of {name}", split, benchmark.splits)
    own_split = benchmark.splits[split]
    synonyms, pictures = (
        None if given is None else _file(given, what)
        for given, what in ((synonyms, "synonyms"), (pictures, "pictures"))
    )
    folder = None if source == "hub" else _folder(name, source)
    wishes = Wishes(rule, ocr, pictures=None if pictures is None else read_numbers(pictures))
    if name == "chair":
        wishes = replace(wishes, synonyms=_synonyms(synonyms, folder))
    if folder is None:
        entries, origin = _from_hub(name, own_split, wishes, organisation, revision)
    else:
        entries, origin = _from_folder(name, folder, own_split, wishes)
    require_sound(entries, f"split {own_split!r} of {name} ({source})")
    origin = origin or f"folder {digest(entries)}"
    part = entries[:limit]
    require_pictures(part)
    source = origin + _told(name, wishes)
    return Loaded(Entries(part), source, own_split, wishes.synonyms, len(entries))


def _told(name: str, wishes: Wishes) -> str:
    """What else the results depend on, so that it is part of their key."""
    if name == "textvqa":
        return f", {'with' if wishes.ocr else 'without'} OCR tokens"
    if name == "chair":
        told = f", synonyms {synonyms_digest(wishes.synonyms)[:8]}"
        return told if wishes.pictures is None else f"{told}, pictures {_listed(wishes.pictures)}"
    return ""


def _listed(pictures: Sequence[int]) -> str:
    """Digest which pictures were listed, in whatever order."""
    return hashlib.sha256(repr(sorted(pictures)).encode()).hexdigest()[:8]


def _file(given: Any, what: str) -> Path:
    """Refuse what is there and no file, such as a pipe, whose reading might never end."""
    path = require_path(given, f"{what}=")
    if path.exists() and not path.is_file():
        raise InfoflowError(f"cannot read the {what} in {str(path)!r}: it is no file.")
    return path


def _folder(name: str, source: str | Path) -> Path:
    """Find a benchmark's folder: the subfolder that bears its name, or the folder itself."""
    folder = require_path(source, "source")
    try:
        if folder.is_dir():
            return _own_folder(name, folder)
    except OSError as error:
        raise InfoflowError(f"the source {folder} cannot be read: {error}.") from error
    if isinstance(source, str) and folder.name == source and not folder.exists():
        raise unknown_name("source", source, ("shapes", "hub", "the path of a folder"))
    raise InfoflowError(f"there is no folder {folder}; valid sources: shapes, hub, a folder.")


def _own_folder(name: str, folder: Path) -> Path:
    if (folder / name).is_dir():
        return folder / name
    if others := [other for other in BENCHMARKS if (folder / other).is_dir()]:
        raise InfoflowError(
            f"{folder} holds no folder {name!r}, only {', '.join(others)}; valid: the data of "
            f"{name} in {folder / name}, or their own folder as the source."
        )
    return folder


def _synonyms(path: Path | None, folder: Path | None) -> Table:
    """Read the synonyms given, else those that lie in the folder, else the published list."""
    if path is None and folder and is_file(folder / "synonyms.txt"):
        path = folder / "synonyms.txt"
    return published_synonyms() if path is None else own_synonyms(path)


def _from_hub(
    name: str, split: str, wishes: Wishes, organisation: str | None, revision: str | None
) -> tuple[list[Entry], str]:
    benchmark = BENCHMARKS[name]
    columns = (PICTURE, *benchmark.columns)
    rows, origin = hub.fetch(name, benchmark.stored[split], columns, organisation, revision)
    return _of_rows(benchmark, rows, split, wishes), origin


def _of_rows(benchmark: Benchmark, rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    if not rows.fields:
        raise InfoflowError(f"{rows.where} holds no item; a split needs at least one.")
    require_items(rows.fields, benchmark.columns, rows.where, "row", first=0)
    return benchmark.from_rows(rows, split, wishes)


def _from_folder(name: str, folder: Path, split: str, wishes: Wishes) -> tuple[list[Entry], str]:
    benchmark = BENCHMARKS[name]
    stored = benchmark.stored[split]
    try:
        originals = [path for mark in benchmark.marks for path in folder.glob(mark)]
        found = folder.rglob("*.parquet")
        # names that begin with a dot are what systems put beside a file
        parquet = sorted(p for p in found if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise InfoflowError(f"the folder {folder} cannot be read: {error}.") from error
    files = files_of_split(parquet, stored, benchmark.pieces.get(stored, ()))
    paths = [path for part in files.values() for path in part]
    if originals and paths:
        raise InfoflowError(
            f"{folder} holds {name} twice: as parquet files, such as {paths[0]}, and as the "
            f"originals, such as {originals[0]}; give a folder with one of the two."
        )
    if originals:
        return benchmark.from_files(folder, split, wishes), ""
    if not parquet:
        raise InfoflowError(
            f"{folder} holds {name} in neither of the known layouts. Valid: parquet files of the "
            f"hub's set, such as {_stored_example(benchmark)}, with the columns "
            f"{', '.join((PICTURE, *benchmark.columns))}; or the originals: {benchmark.originals}. "
            f"Either may also lie in a folder {name!r} within."
        )
    if not paths:
        raise InfoflowError(
            f"none of the parquet files ({', '.join(path.name for path in parquet[:5])}) holds the "
            f"split {stored!r}; its files begin with {stored}-, or lie in a folder {stored}."
        )
    rows = read_parquet(paths, (PICTURE, *benchmark.columns), f"split {stored!r} in {folder}")
    require_told_size(files, len(rows.fields), folder)
    return _of_rows(benchmark, rows, split, wishes), ""


def _stored_example(benchmark: Benchmark) -> str:
    return f"{next(iter(benchmark.stored.values()))}-00000-of-00001.parquet"
