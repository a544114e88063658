"""What a benchmark's own data offer: splits, and how items are read from rows and from files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infoflow.data.captions import Table
from infoflow.data.sets.entries import Entry
from infoflow.data.sets.kinds import Kind
from infoflow.data.sets.rows import Rows


@dataclass(frozen=True)
class Wishes:
    """What may be chosen about a benchmark's items beside the split.

    Attributes:
        rule: The scoring rule; CHAIR reads the reference captions by it too.
        ocr: Whether the words that a program read in the picture are told to the model (TextVQA).
        synonyms: For each class its name and then its synonyms (CHAIR).
        pictures: COCO's numbers of the pictures to take (CHAIR); None for a draw.
    """

    rule: str
    ocr: bool = True
    synonyms: Table = ()
    pictures: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark's own data are read.

    Attributes:
        splits: The benchmark's own name of each split that may be asked for.
        stored: For each of its own names the split of the hub's set that holds the items.
        columns: The columns of the hub's set that are needed beside the picture, with their kinds.
        marks: Patterns of files, one of which tells that a folder holds the originals.
        originals: Which files the originals are, in words.
        from_rows: Reads the items of a split from rows.
        from_files: Reads the items of a split from a folder of the originals.
        max_new_tokens: How many tokens an answer gets at most.
        pieces: Names of the parquet files that make up a stored split if no file bears its own.
    """

    splits: Mapping[str, str]
    stored: Mapping[str, str]
    columns: Mapping[str, Kind]
    marks: tuple[str, ...]
    originals: str
    from_rows: Callable[[Rows, str, Wishes], list[Entry]]
    from_files: Callable[[Path, str, Wishes], list[Entry]]
    max_new_tokens: int
    pieces: Mapping[str, Sequence[str]]
