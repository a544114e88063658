"""Loading a benchmark's own data: from the hub, from parquet files or from the originals."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from infoflow.errors import InfoflowError, unknown_name
from infoflow.tasks import hub
from infoflow.tasks.benchmark import Benchmark, Wishes
from infoflow.tasks.captions import Table, read_synonyms
from infoflow.tasks.chair_data import CHAIR, read_numbers
from infoflow.tasks.entries import Entries, Entry, digest, require_pictures, require_sound
from infoflow.tasks.pope_data import POPE
from infoflow.tasks.rows import Rows, read_parquet
from infoflow.tasks.scienceqa_data import SCIENCEQA
from infoflow.tasks.synonyms import published_synonyms, synonyms_digest
from infoflow.tasks.textvqa_data import TEXTVQA

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
    """Load a benchmark's own data; the arguments are those of :func:`infoflow.tasks.load_task`.

    Raises:
        UnknownNameError: There is no such split.
        InfoflowError: The data are missing, incomplete or damaged.
    """
    benchmark = BENCHMARKS[name]
    if split not in benchmark.splits:
        raise unknown_name(f"split of {name}", split, benchmark.splits)
    own_split = benchmark.splits[split]
    folder = None if source == "hub" else _folder(name, source)
    wishes = Wishes(rule, ocr, pictures=None if pictures is None else read_numbers(pictures))
    if name == "chair":
        wishes = replace(wishes, synonyms=_synonyms(synonyms, folder))
    if folder is None:
        rows, origin = _from_hub(name, own_split, organisation, revision)
        entries = benchmark.from_rows(rows, own_split, wishes)
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


def _folder(name: str, source: str | Path) -> Path:
    """Find a benchmark's folder: the subfolder that bears its name, or the folder itself."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if isinstance(source, str) and folder.name == source:  # a word, not a path
            raise unknown_name("source", source, ("shapes", "hub", "the path of a folder"))
        raise InfoflowError(f"there is no folder {folder}; valid sources: shapes, hub, a folder.")
    if (folder / name).is_dir():
        return folder / name
    if others := [other for other in BENCHMARKS if (folder / other).is_dir()]:
        raise InfoflowError(
            f"{folder} holds no folder {name!r}, only {', '.join(others)}; valid: the data of "
            f"{name} in {folder / name}, or their own folder as the source."
        )
    return folder


def _synonyms(path: str | Path | None, folder: Path | None) -> Table:
    """Read the synonyms given, else those that lie in the folder, else the published list."""
    if path is None and folder and (folder / "synonyms.txt").is_file():
        path = folder / "synonyms.txt"
    return published_synonyms() if path is None else read_synonyms(path)


def _from_hub(
    name: str, split: str, organisation: str | None, revision: str | None
) -> tuple[Rows, str]:
    benchmark = BENCHMARKS[name]
    return hub.fetch(name, benchmark.stored[split], benchmark.columns, organisation, revision)


def _from_folder(name: str, folder: Path, split: str, wishes: Wishes) -> tuple[list[Entry], str]:
    benchmark = BENCHMARKS[name]
    if any(any(folder.glob(mark)) for mark in benchmark.marks):
        return benchmark.from_files(folder, split, wishes), ""
    parquet = sorted(folder.rglob("*.parquet"))
    if not parquet:
        raise InfoflowError(
            f"{folder} holds {name} in neither of the known layouts. Valid: parquet files of the "
            f"hub's set, such as {_stored_example(benchmark)}, with the columns "
            f"{', '.join(benchmark.columns)}; or the originals: {benchmark.originals}. Either may "
            f"also lie in a folder {name!r} within."
        )
    stored = benchmark.stored[split]
    paths = _files_of(parquet, stored, benchmark.pieces.get(stored, ()))
    where = f"split {stored!r} in {folder}"
    rows = read_parquet(paths, benchmark.columns, where)
    return benchmark.from_rows(rows, split, wishes), ""


def _stored_example(benchmark: Benchmark) -> str:
    return f"{next(iter(benchmark.stored.values()))}-00000-of-00001.parquet"


def _files_of(parquet: Sequence[Path], stored: str, pieces: Sequence[str]) -> list[Path]:
    """Find the files of a split by their names, or by those of the folders they lie in."""
    found = _named(parquet, stored)
    if not found and all(_named(parquet, piece) for piece in pieces):
        found = [path for piece in pieces for path in _named(parquet, piece)]
    if not found:
        raise InfoflowError(
            f"none of the parquet files ({', '.join(path.name for path in parquet[:5])}) holds the "
            f"split {stored!r}; its files begin with {stored}-, or lie in a folder {stored}."
        )
    return found


def _named(parquet: Sequence[Path], split: str) -> list[Path]:
    found = [p for p in parquet if p.stem.split("-")[0] == split or p.parent.name == split]
    folders = sorted({str(path.parent) for path in found})
    if len(folders) > 1:
        raise InfoflowError(
            f"parquet files of the split {split!r} lie in several folders "
            f"({', '.join(folders)}); give the one that is meant as the source."
        )
    return found
