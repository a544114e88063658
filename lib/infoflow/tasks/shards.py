"""Which parquet files of a folder make up a split, and whether they are all there."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from infoflow.errors import InfoflowError

_SHARD = re.compile(r"(.*?)-?([0-9]{1,9})-of-([0-9]{1,9})")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})")
_SPLITS = {"train", "validation", "val", "dev", "test"}  # words that a file's name may begin with


def files_of_split(
    parquet: Sequence[Path], split: str, pieces: Sequence[str] = ()
) -> dict[str, list[Path]]:
    """Find the files of a split by their names, or by those of the folders they lie in.

    Args:
        parquet: All parquet files there are.
        split: The split.
        pieces: Splits that make it up if no file bears its own name.

    Returns:
        For the split, or else for each of its pieces, the files in order; none if there are none.

    Raises:
        InfoflowError: They lie in several folders, or are not what their names tell: each of N
            files ``-i-of-N`` once, or files numbered on end, or one alone.
    """
    others = _SPLITS.union(pieces)
    for names in ((split,), pieces):
        found = {name: _named(parquet, name, others) for name in names}
        if found and all(found.values()):
            for name, paths in found.items():
                _require_one_folder(paths, name)
                _require_all_there(paths, name)
            return found
    return {}


def _named(parquet: Sequence[Path], split: str, others: set[str]) -> list[Path]:
    words = {path: path.stem.split("-")[0] for path in parquet}
    return [path for path in parquet if words[path] == split] or [
        path for path in parquet if path.parent.name == split and words[path] not in others
    ]


def _require_one_folder(paths: Sequence[Path], split: str) -> None:
    folders = sorted({str(path.parent) for path in paths})
    if len(folders) > 1:
        raise InfoflowError(
            f"parquet files of the split {split!r} lie in several folders "
            f"({', '.join(folders)}); give the one that is meant as the source."
        )


def _require_all_there(paths: Sequence[Path], split: str) -> None:
    names = ", ".join(path.name for path in paths[:5]) + (", ..." if len(paths) > 5 else "")
    shards = [match for path in paths if (match := _SHARD.match(path.stem))]
    if shards and (len(shards) < len(paths) or len({(m[1], int(m[3])) for m in shards}) > 1):
        raise InfoflowError(
            f"the parquet files of the split {split!r} ({names}) are not of one series -00000-of-N."
        )
    if shards:
        _require_numbers([int(match[2]) for match in shards], int(shards[0][3]), split, names)
    elif len(paths) > 1:
        numbered = [match for path in paths if (match := _NUMBERED.fullmatch(path.stem))]
        if len(numbered) < len(paths) or len({match[1] for match in numbered}) > 1:
            raise InfoflowError(
                f"which of the parquet files {names} hold the split {split!r} is not told by their "
                "names; valid: one file, or files with numbers, such as test-00000-of-00002."
            )
        numbers = [int(match[2]) for match in numbered]
        _require_numbers([n - (min(numbers) == 1) for n in numbers], len(paths), split, names)


def _require_numbers(numbers: Sequence[int], n_files: int, split: str, names: str) -> None:
    if sorted(numbers) != list(range(n_files)):
        missing = [str(n) for n in range(min(n_files, 10_000)) if n not in numbers]
        what = f"number {', '.join(missing[:5])} missing" if missing else "some twice or not of it"
        raise InfoflowError(
            f"the parquet files of the split {split!r} ({names}) are not the {n_files} that their "
            f"names tell of: {what}."
        )


def require_told_size(files: Mapping[str, Sequence[Path]], n_rows: int, folder: Path) -> None:
    """Hold the number of rows against the one in the data set's card, where there is one.

    The card is what ``datasets`` writes: ``README.md``, ``dataset_infos.json`` or
    ``dataset_info.json``, beside the files or above them.

    Args:
        files: For each split its files (:func:`files_of_split`).
        n_rows: How many rows they hold together.
        folder: The data set's folder, above which no card is looked for.

    Raises:
        InfoflowError: They are more or fewer, or a card is damaged.
    """
    first = next(chain(*files.values()))
    for place in (path for path in first.parents if path == folder or folder in path.parents):
        told = [sizes for sizes in _told(place, first.parent.name) if sizes.keys() >= files.keys()]
        totals = [sum(sizes[split] for split in files) for sizes in told]
        if totals and n_rows not in totals:
            raise InfoflowError(
                f"the parquet files of {', '.join(files)} in {first.parent} hold {n_rows} rows; "
                f"the data set's card in {place} tells of {' or '.join(map(str, totals))}."
            )


def _told(place: Path, config: str) -> list[dict[str, int]]:
    """For each config, or for the one of this name, the number of rows of each split."""
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict

    infos: dict[str, DatasetInfo] = {}
    try:
        if any((place / name).is_file() for name in ("README.md", "dataset_infos.json")):
            infos |= DatasetInfosDict.from_directory(str(place))
        if (place / "dataset_info.json").is_file():
            infos["the only one"] = DatasetInfo.from_directory(str(place))
        sizes = {
            name: {split: int(part.num_examples) for split, part in (info.splits or {}).items()}
            for name, info in infos.items()
        }
    except Exception as error:  # a card is anything: YAML or JSON with wrong fields of any type
        reason = " ".join(str(error).split())
        raise InfoflowError(
            f"the data set's card in {place} cannot be read ({type(error).__name__}: {reason})."
        ) from error
    return [sizes[config]] if config in sizes else list(sizes.values())
