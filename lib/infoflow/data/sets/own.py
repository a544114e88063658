"""A benchmark's own data: from the hub, from parquet files or from the originals in a folder."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from infoflow.data.pictures import decode_image, read_image
from infoflow.data.sample import Sample
from infoflow.data.sets import checks
from infoflow.data.sets.rows import IMAGE, ImageSource, Row, fetch, read_parquet, shards_of_split
from infoflow.errors import InfoflowError, one_line
from infoflow.files import parse_json, read_json

ON_HUB = {"organisation", "revision"}
_DIGESTED = ("id", "question", "answer", "kind", "choices", "answers", "objects", "context", "ocr")


class ClosedSample(Sample):
    """A sample that reads its image each time it is used: kept, they would fill the memory."""

    origin: ImageSource

    def __init__(self, **fields: Any) -> None:
        vars(self).update({"regions": {}, "ocr": ()} | fields)

    def __getattr__(self, name: str) -> Any:
        """Read the image as a viewer shows it; published programs only convert it to RGB."""
        if name != IMAGE:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        with one_line(f"item {self.id!r}", InfoflowError):
            if isinstance(self.origin, Path):
                return read_image(self.origin)
            return decode_image(self.origin(), "its image")


@dataclass
class OwnData(ABC):
    """How a benchmark's own data are read; keyword-only fields are options of ``load_task``."""

    folder: Path | None  # None for the hub
    rule: str  # CHAIR reads the reference captions by it, too
    _: KW_ONLY
    organisation: str | None = None  # in place of the one in ``hub``
    revision: str | None = None

    name: ClassVar[str]
    hub: ClassVar[str]  # the set there, of its organisation
    config: ClassVar[str | None] = None
    # the benchmark's own name of each split to choose from
    splits: ClassVar[Mapping[str, str]] = {s: s for s in ("test", "calibration", "held-out")}
    stored: ClassVar[str | None] = None  # the one split of the hub, if all are made of it
    columns: ClassVar[Mapping[str, checks.Kind]]  # of the hub's set, those needed
    marks: ClassVar[tuple[str, ...]]  # one of these files tells the originals
    originals: ClassVar[str]  # in words
    max_new_tokens: ClassVar[int]

    # what the task is given besides, and what else results depend on
    settings: dict[str, Any] = field(init=False, default_factory=dict)
    label: str = field(init=False, default="")

    @abstractmethod
    def read_originals(self, folder: Path, split: str) -> list[Row]:
        """Read the originals of a split into rows as the hub has them; these are checked later."""

    @abstractmethod
    def samples(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        """Make the samples of a split of rows that were checked."""

    def load(self, split: str) -> tuple[list[ClosedSample], str]:
        """Read a split's samples, and name their source: the hub's commit, or a digest of texts."""
        where = f"split {split!r} of {self.name} ({self.folder or 'hub'})"
        if self.folder is None:
            given, (organisation, name) = self.organisation, self.hub.split("/")
            hub = f"{organisation if given is None else given}/{name}"
            stored = self.stored or split
            rows, origin = fetch(hub, self.config, self.revision, stored, self.columns)
        else:
            rows, origin = self._read_folder(self.folder, split), ""
        checks.require_entries(rows, self.columns, where)
        if not (samples := self.samples(rows, split, where)):
            raise InfoflowError(f"{where} holds no item; a split needs at least one.")
        checks.require_once((sample.id for sample in samples), "the item", where)
        fields = ({name: getattr(each, name) for name in _DIGESTED} for each in samples)
        lines = "\n".join(json.dumps(each, sort_keys=True) for each in fields)
        digest = hashlib.sha256(lines.encode()).hexdigest()[:12]
        return samples, (origin or f"folder {digest}") + self.label

    def _read_folder(self, folder: Path, split: str) -> list[Row]:
        stored = self.stored or split
        with one_line(f"the folder {folder} cannot be read", OSError):
            originals = any(path for name in self.marks for path in folder.rglob(name))
            # names that begin with a dot are what systems put beside a file
            parquet = [p for p in sorted(folder.rglob("*.parquet")) if not p.name.startswith(".")]
        shards = shards_of_split(parquet, stored)
        if originals == bool(shards):
            raise InfoflowError(
                f"{folder} holds {self.name} in {'both' if originals else 'neither'} of the known "
                f"layouts. Valid: parquet files of the hub's set, such as {stored}-00000-of-00001"
                f".parquet, with the columns {', '.join(self.columns)}; or the originals: "
                f"{self.originals}. Either may also lie in a folder {self.name!r}."
            )
        if shards:
            return read_parquet(shards, self.columns)
        failed = f"the originals of {self.name} in {folder} lack what published ones have"
        with one_line(failed, KeyError, TypeError, AttributeError):
            return self.read_originals(folder, split)


def require_images(samples: Sequence[ClosedSample]) -> None:
    """Raise unless the images that are files are there; they are not opened."""
    files = {each.id: each.origin for each in samples if isinstance(each.origin, Path)}
    # Path.is_file raises where no file can be, as under too long a name
    if missing := [name for name, path in files.items() if not os.path.isfile(path)]:  # noqa: PTH113
        raise InfoflowError(
            f"{len(missing)} of {len(samples)} images are missing, the first of them "
            f"{files[missing[0]]} of item {missing[0]!r}."
        )


def in_drawn_order(names: Iterable[str]) -> list[str]:
    """Shuffle names the same way on every machine: each goes to the place its SHA-256 has."""
    return sorted(set(names), key=lambda name: hashlib.sha256(f"infoflow {name}".encode()).digest())


def drawn_half(names: Iterable[str], split: str) -> list[str]:
    """Take one half of names: what is chosen on ``"calibration"`` can be reported on the other."""
    drawn = in_drawn_order(names)
    middle = len(drawn) // 2
    return drawn[:middle] if split == "calibration" else drawn[middle:]


def read_json_lines(path: Path) -> list[Any]:
    """Read a file with a JSON value a line, parted by line feeds; empty lines do not count."""
    with one_line(f"{path} cannot be read as JSON lines", OSError, ValueError, RecursionError):
        # bytes, for read_text would take a carriage return for an end of line, too
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
        return [parse_json(line) for line in lines if line.strip(" \t\r")]


def read_original(folder: Path, name: str) -> Any:
    """Read the JSON file of a name; see :func:`find_file`."""
    return read_json(find_file(folder, name))


def find_file(folder: Path, name: str) -> Path:
    """Find the one file of a name in a folder and those below it."""
    found = [*folder.rglob(name)]
    if len(found) != 1:
        raise InfoflowError(f"{folder} holds {len(found)} files {name}; needed is one.")
    return found[0]
