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
from infoflow.data.sets.checks import Kind, require_entries, require_once
from infoflow.data.sets.rows import (
    IMAGE,
    HubSet,
    ImageSource,
    Row,
    fetch,
    read_parquet,
    shards_of_split,
)
from infoflow.errors import InfoflowError, one_line
from infoflow.files import parse_json

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
            return decode_image(self.origin(), "its picture")


@dataclass
class OwnData(ABC):
    """How a benchmark's own data are read; keyword-only fields are options of ``load_task``."""

    folder: Path | None  # None for the hub
    rule: str  # CHAIR reads the reference captions by it, too
    _: KW_ONLY
    organisation: str | None = None  # on the hub, in place of the one in ``hub``
    revision: str | None = None

    name: ClassVar[str]
    hub: ClassVar[HubSet]
    # the benchmark's own name of each split to choose from
    splits: ClassVar[Mapping[str, str]] = {
        name: name for name in ("test", "calibration", "held-out")
    }
    stored: ClassVar[str | None] = None  # the one split of the hub, if all are made of it
    columns: ClassVar[Mapping[str, Kind]]  # of the hub's set, those needed beside the image
    every_image: ClassVar[bool] = True  # whether every row must have one
    marks: ClassVar[tuple[str, ...]]  # one of these files tells the originals
    originals: ClassVar[str]  # in words
    max_new_tokens: ClassVar[int]

    settings: dict[str, Any] = field(init=False, default_factory=dict)  # what the task is given besides
    label: str = field(init=False, default="")  # what else results depend on, for their key

    @abstractmethod
    def read_originals(self, folder: Path, split: str) -> list[Row]:
        """Read the originals of a split into rows as the hub has them."""

    @abstractmethod
    def samples(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        """Make the samples of a split of rows that were checked."""

    def load(self, split: str) -> tuple[list[ClosedSample], str]:
        """Read the samples of a split; and name their source: the hub's commit, or a digest.

        It is of questions and references alone: hashing gigabytes of images is too slow.
        """
        if self.folder is None:
            on_hub = {key: vars(self)[key] for key in ON_HUB if vars(self)[key] is not None}
            hub, columns = self.hub._replace(**on_hub), (IMAGE, *self.columns)
            rows, origin = fetch(self.name, hub, self.stored or split, columns)
            samples = self._of_rows(rows, split, origin)
        else:
            samples = self._of_folder(self.folder, split)
            origin = f"folder {_digest(samples)}"
        where = f"split {split!r} of {self.name} ({self.folder or 'hub'})"
        if not samples:
            raise InfoflowError(f"{where} holds no item; a split needs at least one.")
        require_once((sample.id for sample in samples), "the item", where)
        return samples, origin + self.label

    def _of_rows(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        require_entries(rows, self.columns, where, "row", first=0)
        without = [number for number, row in enumerate(rows) if row[IMAGE] is None]
        if without and self.every_image:
            n, first = len(without), without[0]
            raise InfoflowError(f"{n} rows of {where} have no picture, the first is row {first}.")
        return self.samples(rows, split, where)

    def _of_folder(self, folder: Path, split: str) -> list[ClosedSample]:
        stored, columns = self.stored or split, (IMAGE, *self.columns)
        with one_line(f"the folder {folder} cannot be read", OSError):
            originals = any(path for name in self.marks for path in folder.rglob(name))
            # names that begin with a dot are what systems put beside a file
            parquet = [p for p in sorted(folder.rglob("*.parquet")) if not p.name.startswith(".")]
        if originals == bool(parquet):
            raise InfoflowError(
                f"{folder} holds {self.name} in {'both' if originals else 'neither'} of the known "
                f"layouts. Valid: parquet files of the hub's set, such as "
                f"{stored}-00000-of-00001.parquet, with the columns {', '.join(columns)}; or the "
                f"originals: {self.originals}. Either may also lie in a folder {self.name!r}."
            )
        if originals:
            return self.samples(self.read_originals(folder, split), split, self.name)
        if not (paths := shards_of_split(parquet, stored)):
            names = ", ".join(path.name for path in parquet[:5])
            raise InfoflowError(
                f"none of the parquet files in {folder} ({names}) holds the split {stored!r}; the "
                f"names of its files begin with it, such as {stored}-00000-of-00001.parquet."
            )
        return self._of_rows(read_parquet(paths, columns), split, f"split {stored!r} in {folder}")


def _digest(samples: Iterable[ClosedSample]) -> str:
    parts = ({name: getattr(sample, name) for name in _DIGESTED} for sample in samples)
    lines = (json.dumps(part, sort_keys=True) for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def require_images(samples: Sequence[ClosedSample]) -> None:
    """Raise unless the images that are files are there; they are not opened."""
    files = ((sample, sample.origin) for sample in samples if isinstance(sample.origin, Path))
    # Path.is_file raises where no file can be, as under too long a name
    missing = [(sample, path) for sample, path in files if not os.path.isfile(path)]  # noqa: PTH113
    if missing:
        sample, path = missing[0]
        raise InfoflowError(
            f"{len(missing)} of {len(samples)} pictures are missing, the first of them {path} of "
            f"item {sample.id!r}."
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
    with one_line(f"{path} cannot be read", OSError, UnicodeDecodeError):
        # bytes, for read_text would take a carriage return for an end of line, too
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    values = []
    for number, line in enumerate(lines, start=1):
        with one_line(f"line {number} of {path} is no JSON", ValueError, RecursionError):
            if line.strip(" \t\r"):
                values.append(parse_json(line))
    return values


def find_file(folder: Path, name: str) -> Path:
    """Find the one file of a name in a folder and those below it."""
    found = [*folder.rglob(name)]
    if len(found) != 1:
        raise InfoflowError(f"{folder} holds {len(found)} files {name}; needed is one.")
    return found[0]
